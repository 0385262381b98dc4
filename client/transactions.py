"""Transactions given as data: started at once, or in their turn in a serial lane, where one runs at a time."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from temporalio.client import Client, WorkflowHandle, WorkflowQueryFailedError, WorkflowQueryRejectedError
from temporalio.common import QueryRejectCondition, WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from client import handles, silence
from client.engines.engine import wait_for_saga
from client.errors import DuplicateTransaction, LaneFull, NothingToRedo, Paused
from client.handles import Described, WorkflowPaused
from client.standing import log_by_query
from contracts.errors import Code
from contracts.ids import LANE_WORKFLOW, TRANSACTION_WORKFLOW, Coordinator, Kind, lane_id, transaction_workflow_id
from contracts.lane import LaneEntry, LaneState, LaneView
from contracts.order import WORKFLOWS_QUEUE
from contracts.problems import first_problem
from contracts.transaction import Transaction
from runtime import summaries
from runtime.connection import CLOSED_FROM_OUTSIDE
from temporal_saga import Failure, State, TransactionLog

_WAIT_IN_LINE_S = 600
"""A client's wait for its transaction's turn. The place in the line is kept; the same command again goes on waiting."""
_WAIT_BEYOND_STEPS_S = 60
"""A transaction is parked when the timeouts of all its steps and rollbacks are over; then the client returns that."""
_LOOK_EVERY_S = 0.25
"""Between two looks whether the transaction has begun: short against the second that a short line takes."""
_LOOKS_BETWEEN_QUESTIONS = 8
"""The lane itself is queried every two seconds: an answer costs its worker something."""


@dataclass(frozen=True)
class Place:
    """A transaction's place in its lane: `ahead` counts those before it, `behind` runs now. Both are unset if the lane
    cannot say now.

    `lost`: it neither waits nor runs there. It has ended meanwhile, or the lane was closed from outside.
    """

    ahead: int | None = None
    behind: str | None = None
    lost: bool = False


class Transactions:
    def __init__(self, client: Client) -> None:
        self._client = client

    async def run(
        self, asked: Transaction, lane: str | None, *, wait: bool = True, tell: Callable[[int], None] = lambda _: None
    ) -> TransactionLog:
        """Start the transaction, in its turn if it has a lane, and return its end, or how it stands or waits.

        `tell` hears how many are ahead in the lane. Raises `DuplicateTransaction`, `LaneFull` and `Paused`.
        """
        if lane is None:
            await self.start(asked)
        else:
            await self.enter(asked, lane)
            if not await self._has_begun(asked):
                if not wait:
                    await self.place_in(asked, lane)  # an entry is only a signal: a full lane refuses it afterwards
                elif (waiting := await self._wait_for_turn(asked, lane, tell)) is not None:
                    return waiting
        if wait:
            return await self._end_of(asked)
        begun = await self._has_begun(asked)
        log = await log_by_query(self._client, asked.workflow_id) if begun else None
        return TransactionLog(asked.transaction_id, State.RUNNING) if log is None else log

    async def redo(self, workflow_id: str) -> TransactionLog:
        """Run a closed transaction once more, in its turn if it had a lane, and return its end, or how it stands.

        Raises `NothingToRedo`, and `WorkflowAlreadyStartedError` if it runs.
        """
        closed = await handles.describe(self._client, workflow_id)
        document = await handles.document_of(self._client, workflow_id)
        try:
            asked = Transaction.model_validate(document)
        except ValidationError as error:
            raise NothingToRedo(f"{workflow_id} was not started with a transaction: {first_problem(error)}") from error
        if closed is None or asked.workflow_id != workflow_id:
            raise NothingToRedo(f"{workflow_id} was not started with a transaction of its id")
        await resume(self._client, closed, document)
        try:
            await asyncio.wait_for(until_resumed(self._client, closed), _WAIT_IN_LINE_S)
        except TimeoutError:
            message = f"still waits in {closed.parent_id}; `starter.py status {workflow_id}` tells when it has ended"
            return TransactionLog(asked.transaction_id, State.RUNNING, Failure(Code.LANE_HELD, message))
        return await self._end_of(asked)

    async def _end_of(self, asked: Transaction) -> TransactionLog:
        seconds = 2 * sum(step.timeout_s for step in asked.steps) + _WAIT_BEYOND_STEPS_S
        log = await wait_for_saga(self._client, asked.workflow_id, seconds)
        return TransactionLog(asked.transaction_id, State.RUNNING) if log is None else log

    async def start(self, asked: Transaction) -> None:
        """Start the transaction now, in no lane, or find the one that is there if it is of the same content."""
        resumed = await self._was_cut_off(asked)
        try:
            await start(self._client, asked.workflow_id, _document(asked), resumed=resumed)
        except WorkflowAlreadyStartedError:
            await self._require_same(asked)

    async def enter(self, asked: Transaction, lane: str) -> None:
        """Take a place at the end of the lane, unless the transaction has begun before."""
        if not await self._has_begun(asked):
            resumed = await self._was_cut_off(asked)
            await enter(self._client, lane_id(lane), asked.transaction_id, _document(asked), resumed=resumed)

    async def place_in(self, asked: Transaction, lane: str) -> Place:
        """Query the lane. Raises `LaneFull` if it has refused the transaction, and `Paused` if the lane is."""
        handle = self._client.get_workflow_handle(lane_id(lane))
        name, is_open = asked.transaction_id, QueryRejectCondition.NOT_OPEN
        try:
            view: LaneView = await handles.query(
                self._client, handle, "waiting", result_type=LaneView, reject_condition=is_open
            )
            ahead = await handles.query(self._client, handle, "ahead_of", name, reject_condition=is_open)
        except WorkflowPaused as paused:
            raise Paused(f"waits in lane {lane}: {silence.paused(paused.described).message}") from paused
        except WorkflowQueryRejectedError:  # it is closed, and would have answered as it was
            return Place(lost=True)
        except WorkflowQueryFailedError:
            return Place()
        except RPCError as error:  # without a worker the place is kept: to enter again would only grow the history
            return Place(lost=error.status is RPCStatusCode.NOT_FOUND)
        holder = None if view.holder is None else view.holder.transaction_id
        if ahead is not None:
            return Place(ahead, holder)
        if holder != name and name in view.refused:
            raise LaneFull(f"lane {lane} is full ({view.count} wait); try again later")
        return Place(lost=holder != name)

    async def _wait_for_turn(self, asked: Transaction, lane: str, tell: Callable[[int], None]) -> TransactionLog | None:
        """Wait until the transaction has begun, and return `None`; or how it waits, when it will not begin soon."""
        told: int | None = None
        for look in range(int(_WAIT_IN_LINE_S / _LOOK_EVERY_S)):
            if await self._has_begun(asked):
                return None
            if look % _LOOKS_BETWEEN_QUESTIONS == _LOOKS_BETWEEN_QUESTIONS - 1:
                place = await self.place_in(asked, lane)
                if place.ahead is not None and place.ahead != told:
                    tell(place.ahead)
                    told = place.ahead
                if place.behind is not None and await self._is_parked(place.behind):
                    message = f"waits in lane {lane} behind {place.behind}, which is parked; see `starter.py desk list`"
                    return TransactionLog(asked.transaction_id, State.RUNNING, Failure(Code.LANE_HELD, message))
                if place.lost:
                    await self.enter(asked, lane)
            await asyncio.sleep(_LOOK_EVERY_S)
        message = f"still waits in lane {lane}, {told or 'some'} ahead; the same command again goes on waiting"
        return TransactionLog(asked.transaction_id, State.RUNNING, Failure(Code.LANE_HELD, message))

    async def _is_parked(self, transaction_id: str) -> bool:
        try:
            return (await log_by_query(self._client, transaction_workflow_id(transaction_id))).state is State.PARKED
        except RPCError:
            return False  # it has ended, or Temporal has trouble: the next look tells

    async def _has_begun(self, asked: Transaction) -> bool:
        """Whether its workflow runs or has come to an end. Raises `DuplicateTransaction`."""
        status = await handles.status_of(self._client, asked.workflow_id)
        if status is None or status in CLOSED_FROM_OUTSIDE:
            return False
        await self._require_same(asked)
        return True

    async def _was_cut_off(self, asked: Transaction) -> bool:
        """Whether its workflow was closed from outside. Raises `DuplicateTransaction`."""
        if await handles.status_of(self._client, asked.workflow_id) not in CLOSED_FROM_OUTSIDE:
            return False
        await self._require_same(asked)
        return True

    async def _require_same(self, asked: Transaction) -> None:
        document = await handles.document_of(self._client, asked.workflow_id)
        try:
            same = Transaction.model_validate(document) == asked
        except ValidationError:
            same = False
        if not same:
            message = f"{asked.transaction_id} was submitted before with another content; choose another id"
            raise DuplicateTransaction(message)


async def start(
    client: Client, workflow_id: str, document: dict[str, Any], *, resumed: bool
) -> WorkflowHandle[Any, Any]:
    """Start the workflow of a transaction; `resumed` if its last run was closed without an end.

    Raises `WorkflowAlreadyStartedError`.
    """
    again, once = WorkflowIDReusePolicy.ALLOW_DUPLICATE, WorkflowIDReusePolicy.REJECT_DUPLICATE
    return await client.start_workflow(
        TRANSACTION_WORKFLOW,
        args=[document, resumed],
        id=workflow_id,
        task_queue=WORKFLOWS_QUEUE,
        id_reuse_policy=again if resumed else once,
        id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
        **summaries.of_transaction([step["name"] for step in document["steps"]], resumed=resumed),
    )


async def enter(client: Client, lane: str, transaction_id: str, document: dict[str, Any], *, resumed: bool) -> None:
    """Signal the lane, which is a workflow's id, that the transaction waits for its turn; start it if it is closed."""
    size = len(json.dumps(document))
    entry = LaneEntry(transaction_id=transaction_id, document=document, size=size, resumed=resumed)
    await client.start_workflow(
        LANE_WORKFLOW,
        LaneState(),
        id=lane,
        task_queue=WORKFLOWS_QUEUE,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        start_signal="enter",
        start_signal_args=[entry],
        **summaries.of_lane(),
    )


async def resume(client: Client, closed: Described, document: dict[str, Any]) -> None:
    """Have a transaction run again whose newest run is `closed`, in its turn if it had one.

    Raises `WorkflowAlreadyStartedError`.
    """
    parent = Coordinator.parse(closed.parent_id)
    if parent.kind is Kind.LANE:
        await enter(client, parent.workflow_id, Coordinator.parse(closed.id).name, document, resumed=True)
    else:
        await start(client, closed.id, document, resumed=True)


async def until_resumed(client: Client, closed: Described) -> None:
    """Wait until a transaction has a later run than `closed`."""
    while (newest := await handles.describe(client, closed.id)) is None or newest.run_id == closed.run_id:  # noqa: ASYNC110 — Temporal tells of no new run
        await asyncio.sleep(_LOOK_EVERY_S)


def _document(asked: Transaction) -> dict[str, Any]:
    return asked.model_dump(mode="json", exclude_defaults=True)
