"""Orders that a service still holds something for, and that no workflow is bringing to an end.

The sweep first reads the coordinator of each order from the order service's record, then describes that one workflow.
Other workflows with the order's id, from a second placing for example, were refused and say nothing about the order.

| the coordinator | has left the order behind if |
|---|---|
| the order's own workflow | it was closed from outside, or is unknown while something is held |
| the order's participant | the same, or it has failed while something is held |
| a batch | it was closed from outside, or is unknown while something is held |

An order of a batch or a choreography that was given a workflow of its own has that as its coordinator from then on. A
batch that has completed says which orders it has detached: without a workflow of its own, such an order is unknown.
A coordinator that ended by itself has said how: what is still held then, an operator has skipped, and a sweep must not
overrule them. When Temporal has forgotten the coordinator, the skips that an earlier sweep has copied to the order
service (`recovery/skips.py`) say the same.
"""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import TypeAdapter, ValidationError
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError
from temporalio.exceptions import ApplicationError, WorkflowAlreadyStartedError

from client import handles
from client.engines.batch import BatchEngine
from client.engines.choreography import ChoreographyEngine
from client.engines.engine import OrderInput
from client.engines.saga import SagaEngine
from client.records import coordinator_of, on_record
from contracts import order
from contracts.batch import InvalidBatch, parse
from contracts.catalogue import HOLDING
from contracts.errors import Code
from contracts.ids import BATCH_WORKFLOW, DECIDERS, Coordinator, Kind, is_orders
from contracts.message import Id, ListOpen, OpenTransactions, same
from contracts.order import OrderOnRecord, OrderState
from recovery.tolerance import Round
from runtime.connection import CLOSED_FROM_OUTSIDE
from runtime.execute import execute
from temporal_saga import Operation

Status = WorkflowExecutionStatus

FINISH_TIMEOUT_S = 60
"""How long the sweep waits for one order. What takes longer is parked, and goes on without it."""
_CLOSED = f"{DECIDERS} AND {handles.CLOSED_BY_OTHERS}"
_CLOSED_BATCHES = f"WorkflowType = '{BATCH_WORKFLOW}' AND {handles.CLOSED_BY_OTHERS}"
_ID: TypeAdapter[str] = TypeAdapter(Id)


@dataclass(frozen=True)
class Coordinated:
    """An order, and the workflow that has the last word about it."""

    placed: OrderOnRecord
    coordinator: Coordinator
    status: Status | None

    @property
    def is_closed_from_outside(self) -> bool:
        return self.status in CLOSED_FROM_OUTSIDE

    @property
    def may_be_left(self) -> bool:
        """Whether no workflow brings it to an end, if something is held for it."""
        # A participant fails because another order is on record under its id, and that is the one looked at here.
        failed = self.coordinator.kind is Kind.PARTICIPANT and self.status is Status.FAILED
        forgotten = self.status is None and not self.placed.has_skips
        return forgotten or self.is_closed_from_outside or failed

    def is_left(self, still_open: set[str]) -> bool:
        """Whether it is, when something is held for `still_open`. An order whose coordinator was closed from outside
        needs an end even if nothing is held: its owner has not been told one."""
        return self.is_closed_from_outside or (self.may_be_left and self.placed.order.transaction_id in still_open)


class OrderSweep:
    """`page` is the number of transactions that a service lists at a time."""

    def __init__(self, client: Client, round_: Round, page: int) -> None:
        self._client = client
        self._round = round_
        self._page = page
        self._detached: dict[str, asyncio.Task[set[str]]] = {}

    async def left_behind(self) -> list[Coordinated]:
        """Orders whose coordinator is closed without an end, and those open at a service that have none."""
        still_open = await self._open()
        closed = await self._closed()
        batched = await self._in_closed_batches()
        wanted = sorted(still_open | batched.keys() | {each.transaction_id for each in closed})
        records = await self._round.tried(order.read_orders.name, on_record(self._client, wanted))
        if records is None:
            return []
        for transaction, problem in records.unreadable.items():
            self._round.note(transaction, Code.UNREADABLE, f"the order on record: {problem}")
        forgotten = [each for each in closed if each.transaction_id not in records]
        unrecorded = await self._round.each(forgotten, lambda each: each.workflow_id, self._in_history)
        histories = batched | {each.order.transaction_id: each for each in unrecorded}  # of one order there may be two
        placed = [*records.orders.values(), *(histories[each] for each in histories if each not in records)]
        candidates = [each for each in await self._coordinated(placed) if each.may_be_left]
        if not candidates:
            return []
        # Asked again: an order that ended between the first question and the look at its workflow is not open now.
        still_open = await self._open()
        again = await self._coordinated([each.placed for each in candidates])
        return [each for each in again if each.is_left(still_open)]

    async def _open(self) -> set[str]:
        """The orders that something is held for, by the services that answer."""
        asked_all = [self._round.tried(operation.name, self._held(operation)) for operation in HOLDING.values()]
        return set().union(*(held for held in await asyncio.gather(*asked_all) if held is not None))

    async def _held(self, operation: Operation[ListOpen, OpenTransactions]) -> set[str]:
        found: set[str] = set()
        after = ""
        while True:
            page = (await execute(self._client, operation, ListOpen(after=after, limit=self._page))).transaction_ids
            found |= {transaction for transaction in page if is_orders(transaction)}
            if len(page) < self._page:
                return found
            after = page[-1]

    async def _closed(self) -> list[Coordinator]:
        """The workflows that have, or had, a run that was closed from outside, and that can be an order's."""
        found = {run.id async for run in handles.listed(self._client, _CLOSED)}
        return [parsed for name in sorted(found) if _is_an_orders(parsed := Coordinator.parse(name))]

    async def _in_closed_batches(self) -> dict[str, OrderOnRecord]:
        """The orders of batches that were closed from outside, by transaction: as they were placed."""
        names = {run.id async for run in handles.listed(self._client, _CLOSED_BATCHES)}
        found: dict[str, OrderOnRecord] = {}
        for orders in await self._round.each(sorted(names), str, self._orders_of):
            found |= orders
        return found

    async def _orders_of(self, batch: str) -> dict[str, OrderOnRecord]:
        documents = await handles.document_of(self._client, batch)
        try:
            orders, _ = parse(json.dumps(documents).encode())
        except InvalidBatch as error:
            self._round.note(batch, Code.INVALID_ORDER, str(error))
            return {}
        return {
            placed.transaction_id: OrderOnRecord(order=placed, coordinator=batch, state=OrderState.PENDING)
            for placed in orders
        }

    async def _in_history(self, closed: Coordinator) -> OrderOnRecord | None:
        """An order that is on no record, from what its workflow was started with; `None` if that is gone as well, or
        has an end by now."""
        workflow_id = closed.workflow_id
        if await handles.status_of(self._client, workflow_id) not in CLOSED_FROM_OUTSIDE:
            return None
        arguments = await handles.started_with(self._client, workflow_id)
        if not arguments:
            return None
        wanted = OrderInput.of(arguments)
        if wanted is None or closed.transaction_id != wanted.order.transaction_id:
            self._round.note(
                workflow_id, Code.INVALID_ORDER, "it was started with something that is no order of its id"
            )
            return None
        coordinator = workflow_id if closed.kind is Kind.PARTICIPANT else wanted.coordinator
        return OrderOnRecord(order=wanted.order, coordinator=coordinator, state=OrderState.PENDING)

    async def _coordinated(self, placed: Sequence[OrderOnRecord]) -> list[Coordinated]:
        return await self._round.each(placed, lambda each: each.order.transaction_id, self._look_up)

    async def _look_up(self, placed: OrderOnRecord) -> Coordinated:
        own, coordinator = Coordinator.parse(placed.order.transaction_id), coordinator_of(placed)
        status = await self._newest_run_for(placed)
        if status is not None or coordinator == own:
            return Coordinated(placed, own, status)
        status = await handles.status_of(self._client, coordinator.workflow_id)
        if coordinator.kind is Kind.BATCH and status is Status.COMPLETED:
            detached = await self._detached_by(coordinator.workflow_id)
            status = None if placed.order.order_id in detached else status
        return Coordinated(placed, coordinator, status)

    async def _detached_by(self, batch: str) -> set[str]:
        """The orders that a completed batch has left to workflows of their own. Each batch is asked once."""
        if batch not in self._detached:
            self._detached[batch] = asyncio.create_task(BatchEngine(self._client, batch).detached())
        return await self._detached[batch]

    async def _newest_run_for(self, placed: OrderOnRecord) -> Status | None:
        """How the newest run of the order's own workflow stands that was started with just this order, in the name of
        just this coordinator; `None` if there is none.

        A run with another order, or in another's name, was refused by the order service before it did anything: it
        neither ends nor needs what is on record. An open run is taken in any case: no other can begin beside it.
        """
        workflow_id = placed.order.transaction_id
        newest = await handles.status_of(self._client, workflow_id)
        if newest in (None, Status.RUNNING) or await self._is_for(placed):
            return newest
        for run in await handles.runs_of(self._client, workflow_id):
            if await self._is_for(placed, run.run_id):
                return await handles.status_of(self._client, workflow_id, run.run_id)
        return None

    async def _is_for(self, placed: OrderOnRecord, run_id: str | None = None) -> bool:
        arguments = await handles.started_with(self._client, placed.order.transaction_id, run_id)
        found = OrderInput.of(arguments)
        return found is not None and found.coordinator == placed.coordinator and same(found.order, placed.order)

    async def finish(self, left: Coordinated) -> bool:
        """Have the order resumed; true if it came to an end."""
        choreographed = left.coordinator.kind is Kind.PARTICIPANT
        engine = ChoreographyEngine(self._client) if choreographed else SagaEngine(self._client)
        try:
            handle = await engine.resume(left.placed)
            await asyncio.wait_for(handles.result_of(handle), FINISH_TIMEOUT_S)
        except WorkflowFailureError as error:
            return not choreographed and isinstance(error.cause, ApplicationError)  # rolled back: that is an end
        except (WorkflowAlreadyStartedError, TimeoutError):  # another sweep was faster, or a call is parked
            return False
        return True


def _is_an_orders(closed: Coordinator) -> bool:
    """Any client can start a workflow under any id; no order can have another than these."""
    try:
        _ID.validate_python(closed.name)
    except ValidationError:
        return False
    return closed.decides_an_order
