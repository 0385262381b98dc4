"""A serial lane: transactions enter at any time, and run strictly one after the other, in the order of their entries.

A client enters a transaction with a signal that starts the lane if it does not run (`signal-with-start`). Temporal
stores the signal before it acknowledges it, so a crash loses no entry. A lane completes after some time without one.

A transaction that does not end holds the lane, because only one may run at a time. The lane shows which transaction
holds it and since when, and the call that is parked is on the operator's desk.
"""

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
from temporal_saga import run_to_completion
from temporal_saga.waiting import until
from workflows.announcing import memo_of_child
from workflows.transaction import TransactionWorkflow

_LONG = timedelta(minutes=1)
"""A transaction that holds the lane for longer is logged as an error: most take less than a second."""
_IDLE = timedelta(minutes=1)
"""The lane completes after so long without an entry; the next entry starts it again."""
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
        """Run the entries until none has come for a while.

        Temporal's own cancellation is ignored: entries would be lost, and the next lane would run beside the holder.
        """
        await run_to_completion(self._serve())

    async def _serve(self) -> None:
        if self._holder is not None:  # the previous run started it, and is no longer its parent
            await self._wait_until_closed(self._close_of(transaction_workflow_id(self._holder.transaction_id)))
        while await self._has_entry():
            _, entry = self._waiting.popitem(last=False)
            self._bytes -= entry.carried_bytes
            self._holder = Holder(transaction_id=entry.transaction_id, since=workflow.now())
            await self._wait_until_closed(await self._start(entry))
            # A run moves to a new build only after a transaction: each run gets through one, even if that build fails.
            if self._is_full() or workflow.info().is_target_worker_deployment_version_changed():
                self._continue()

    @workflow.signal
    def enter(self, entry: LaneEntry) -> None:
        """Add a transaction at the end of the queue, if it is not in the lane already."""
        holding = self._holder is not None and self._holder.transaction_id == entry.transaction_id
        if holding or entry.transaction_id in self._waiting:
            return
        if entry.transaction_id in self._refused:  # the lane was full when it was entered before
            self._refused.remove(entry.transaction_id)
        if self._bytes + entry.carried_bytes > MAX_WAITING_BYTES:
            self._refused.append(entry.transaction_id)
            return
        self._waiting[entry.transaction_id] = entry
        self._bytes += entry.carried_bytes

    @workflow.query
    def waiting(self) -> LaneView:
        """Return which transaction holds the lane and since when, and the next ones."""
        first = tuple(islice(self._waiting, MAX_LISTED))
        return LaneView(holder=self._holder, waiting=first, count=len(self._waiting), refused=tuple(self._refused))

    @workflow.query
    def ahead_of(self, transaction_id: str) -> int | None:
        """Return how many transactions must end before `transaction_id` starts; `None` if it does not wait here."""
        for place, other in enumerate(self._waiting):
            if other == transaction_id:
                return place + (self._holder is not None)
        return None

    async def _has_entry(self) -> bool:
        """Wait for an entry, if there is none. False if none has come."""
        if not self._waiting:
            workflow.set_current_details("")
            await until(lambda: bool(self._waiting), _IDLE)
        return bool(self._waiting)

    async def _start(self, entry: LaneEntry) -> asyncio.Future[Any]:
        """Start the transaction's workflow. Return a future that is done when the workflow is closed, in any way."""
        again, once = WorkflowIDReusePolicy.ALLOW_DUPLICATE, WorkflowIDReusePolicy.REJECT_DUPLICATE
        try:
            return await workflow.start_child_workflow(
                TransactionWorkflow.__name__,
                args=[entry.document, entry.resumed],
                id=entry.workflow_id,
                result_type=RawValue,  # it may be of any build; the lane does not read it
                id_reuse_policy=again if entry.resumed else once,
                parent_close_policy=workflow.ParentClosePolicy.ABANDON,
                memo=memo_of_child(),
                static_summary="in its turn in a serial lane",
                static_details=f"`{workflow.info().workflow_id}` runs one transaction at a time.",
            )
        except WorkflowAlreadyStartedError:  # it has run before, or a client has started it outside the lane
            return self._close_of(entry.workflow_id)

    def _close_of(self, transaction: str) -> asyncio.Future[Any]:
        """A future that is done when a workflow that is no child of this run is closed."""
        return workflow.start_activity(
            await_close.name,
            AwaitClose(workflow_id=transaction),
            task_queue=await_close.queue,
            result_type=RawValue,
            start_to_close_timeout=_AWAIT_CLOSE_ATTEMPT,
            heartbeat_timeout=_AWAIT_CLOSE_HEARTBEAT,
            retry_policy=RetryPolicy(maximum_interval=timedelta(seconds=30)),  # without end: the queue waits for it
        )

    async def _wait_until_closed(self, closed: asyncio.Future[Any]) -> None:
        """Wait until the holder's workflow is closed; if this run's history is full before, continue as new."""
        self._publish_holder()
        if not await until(lambda: closed.done() or self._is_full(), _LONG):
            self._publish_holder(held_up=True)
            await until(lambda: closed.done() or self._is_full())
        if not closed.done():
            self._continue()
        if not closed.cancelled():
            closed.exception()  # read, so that asyncio does not report it: the transaction's caller gets it
        self._holder = None

    def _is_full(self) -> bool:
        info = workflow.info()
        return info.is_continue_as_new_suggested() or info.get_current_history_length() >= self._events_a_run

    def _continue(self) -> None:
        """Continue as new, on the current build, with all entries.

        If a signal arrives meanwhile, Temporal repeats the workflow task, and the new entry is among them.
        """
        workflow.continue_as_new(
            LaneState(
                waiting=tuple(self._waiting.values()),
                holder=self._holder,
                refused=tuple(self._refused),
                events_a_run=self._events_a_run,
            ),
            initial_versioning_behavior=workflow.ContinueAsNewVersioningBehavior.AUTO_UPGRADE,
        )

    def _publish_holder(self, *, held_up: bool = False) -> None:
        """Show in the Web UI which transaction holds the lane, and log it if that takes long."""
        assert self._holder is not None  # noqa: S101 — a transaction runs
        holder = self._holder
        name = transaction_workflow_id(holder.transaction_id)
        line = f"Held by `{name}` since {holder.since:%Y-%m-%d %H:%M:%SZ}; {len(self._waiting)} wait."
        workflow.set_current_details(line)
        if held_up:
            fields = {"transaction_id": holder.transaction_id, "service": "lane", "status": "HELD_UP"}
            workflow.logger.error("lane", extra=fields | {"waiting": len(self._waiting)})
