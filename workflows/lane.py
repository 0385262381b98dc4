"""A serial lane: transactions enter at any time, and run strictly one after the other, in the order they came.

A client enters one with a signal that starts the lane if it is not there (`signal-with-start`). Temporal keeps the
signal before it is acknowledged, so a crash loses no place in the line. A lane ends when nobody has come for a while.

A transaction that does not end holds the lane: one at a time is the promise. That is never silent: the lane says who
holds it and since when, and what is parked is on the operator's desk.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from datetime import timedelta
from itertools import islice
from typing import Any

from temporalio import workflow
from temporalio.common import RawValue, RetryPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError

from contracts.ids import transaction_workflow_id
from contracts.lane import (
    MAX_LISTED,
    MAX_REMEMBERED,
    MAX_WAITING_BYTES,
    AwaitClose,
    Holder,
    LaneEntry,
    LaneState,
    LaneView,
    await_close,
)
from saga import run_to_completion
from saga.waiting import until
from workflows.transaction import TransactionWorkflow

_LONG = timedelta(minutes=1)
"""A transaction that holds the lane for longer is said in the log, at error: most take less than a second."""
_IDLE = timedelta(minutes=1)
"""Without an entry for so long the lane ends; the next entry starts it again."""
_AWAIT_CLOSE_ATTEMPT = timedelta(hours=1)
_AWAIT_CLOSE_HEARTBEAT = timedelta(seconds=60)


@workflow.defn
class LaneWorkflow:
    @workflow.init
    def __init__(self, state: LaneState) -> None:
        self._waiting = OrderedDict((entry.transaction_id, entry) for entry in state.waiting)
        self._bytes = sum(entry.carried_bytes for entry in state.waiting)
        self._holder = state.holder
        self._refused = deque(state.refused, maxlen=MAX_REMEMBERED)
        self._events_a_run = state.events_a_run

    @workflow.run
    async def run(self, _state: LaneState) -> None:
        """Until nobody comes. Temporal's own cancellation is not taken: the line would be lost, and the next lane would
        run beside the holder."""
        await run_to_completion(self._serve())

    async def _serve(self) -> None:
        if self._holder is not None:  # it was begun by the run before this one, which is no longer its parent
            await self._see_out(self._closed_elsewhere(transaction_workflow_id(self._holder.transaction_id)))
        while await self._somebody_waits():
            _, entry = self._waiting.popitem(last=False)
            self._bytes -= entry.carried_bytes
            self._holder = Holder(transaction_id=entry.transaction_id, since=workflow.now())
            await self._see_out(await self._begin(entry))
            # For a new build only here, after a transaction: should it not get there, no run is over before it began.
            if self._run_is_full() or workflow.info().is_target_worker_deployment_version_changed():
                self._continue()

    @workflow.signal
    def enter(self, entry: LaneEntry) -> None:
        """Take a place at the end of the line. Nothing for a transaction that is in it already."""
        holding = self._holder is not None and self._holder.transaction_id == entry.transaction_id
        if holding or entry.transaction_id in self._waiting:
            return
        if entry.transaction_id in self._refused:  # it came before
            self._refused.remove(entry.transaction_id)
        if self._bytes + entry.carried_bytes > MAX_WAITING_BYTES:
            self._refused.append(entry.transaction_id)
            return
        self._waiting[entry.transaction_id] = entry
        self._bytes += entry.carried_bytes

    @workflow.query
    def waiting(self) -> LaneView:
        """Who holds the lane and since when, and who is next."""
        first = tuple(islice(self._waiting, MAX_LISTED))
        return LaneView(holder=self._holder, waiting=first, count=len(self._waiting), refused=tuple(self._refused))

    @workflow.query
    def ahead_of(self, transaction_id: str) -> int | None:
        """How many must end before `transaction_id` begins; `None` if it does not wait here."""
        for place, other in enumerate(self._waiting):
            if other == transaction_id:
                return place + (self._holder is not None)
        return None

    async def _somebody_waits(self) -> bool:
        if not self._waiting:
            workflow.set_current_details("")
            await until(lambda: bool(self._waiting), _IDLE)
            return bool(self._waiting)
        return True

    async def _begin(self, entry: LaneEntry) -> asyncio.Future[Any]:
        """Start the transaction; what is returned is done when its workflow is closed, in whatever way."""
        again, once = WorkflowIDReusePolicy.ALLOW_DUPLICATE, WorkflowIDReusePolicy.REJECT_DUPLICATE
        try:
            return await workflow.start_child_workflow(
                TransactionWorkflow.__name__,
                args=[entry.document, entry.resumed],
                id=entry.workflow_id,
                result_type=RawValue,  # that it has ended is all we want to know, and every build can read that
                id_reuse_policy=again if entry.resumed else once,
                parent_close_policy=workflow.ParentClosePolicy.ABANDON,
            )
        except WorkflowAlreadyStartedError:  # it ran before, or runs outside this lane: not at the same time as others
            return self._closed_elsewhere(entry.workflow_id)

    def _closed_elsewhere(self, transaction: str) -> asyncio.Future[Any]:
        return workflow.start_activity(
            await_close.name,
            AwaitClose(workflow_id=transaction),
            task_queue=await_close.queue,
            result_type=RawValue,
            start_to_close_timeout=_AWAIT_CLOSE_ATTEMPT,
            heartbeat_timeout=_AWAIT_CLOSE_HEARTBEAT,
            retry_policy=RetryPolicy(maximum_interval=timedelta(seconds=30)),  # for ever: the line waits behind it
        )

    async def _see_out(self, closed: asyncio.Future[Any]) -> None:
        """Wait until the holder's workflow is closed, or leave that to the next run if this one is full before."""
        self._tell()
        if not await until(lambda: closed.done() or self._run_is_full(), _LONG):
            self._tell(held_up=True)
            await until(lambda: closed.done() or self._run_is_full())
        if not closed.done():
            self._continue()
        if not closed.cancelled():
            closed.exception()  # how it ended is in its own log, and for its own caller
        self._holder = None

    def _run_is_full(self) -> bool:
        info = workflow.info()
        return info.is_continue_as_new_suggested() or info.get_current_history_length() >= self._events_a_run

    def _continue(self) -> None:
        """Hand everything to a new run, of the current build. A signal that comes now makes Temporal ask again, with it
        in the line."""
        workflow.continue_as_new(
            LaneState(
                waiting=tuple(self._waiting.values()),
                holder=self._holder,
                refused=tuple(self._refused),
                events_a_run=self._events_a_run,
            ),
            initial_versioning_behavior=workflow.ContinueAsNewVersioningBehavior.AUTO_UPGRADE,
        )

    def _tell(self, *, held_up: bool = False) -> None:
        """Who holds the lane: for the Web UI at any time, and in the log when it takes long."""
        assert self._holder is not None  # noqa: S101 — called between taking and leaving the lane
        holder = self._holder
        line = f"Held by `transaction/{holder.transaction_id}` since {holder.since:%Y-%m-%d %H:%M:%SZ}"
        workflow.set_current_details(line)
        if held_up:
            fields = {"transaction_id": holder.transaction_id, "service": "lane", "status": "HELD_UP"}
            workflow.logger.error("lane", extra=fields | {"waiting": len(self._waiting)})
