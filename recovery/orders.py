"""Orders that a service still holds something for, and that no workflow is bringing to an end.

The order service's record says who coordinates an order: it is asked first. Temporal is then asked about that one
coordinator, because other workflows of the order's name (it was placed a second time, say) were refused, and say
nothing about the order that is on record.

| the coordinator | has left the order behind if |
|---|---|
| the order's own workflow | it was closed from outside, or is unknown while something is held |
| the order's participant | the same, or it has failed while something is held |
| a batch | it was closed from outside, or is unknown while something is held |

An order of a batch or a choreography that was given a workflow of its own has that as its coordinator from then on.
A coordinator that ended by itself has said how: what is still held then, an operator has skipped, and a sweep must not
overrule them. When Temporal has forgotten the coordinator, the skips that an earlier sweep has copied to the order
service (`recovery/skips.py`) say the same.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from pydantic import TypeAdapter, ValidationError
from temporalio.client import Client, WorkflowFailureError
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import ApplicationError, WorkflowAlreadyStartedError

from client import handles
from contracts import order
from contracts.batch import BATCH_WORKFLOW, InvalidBatch, parse
from contracts.catalogue import HOLDING
from contracts.choreography import DECIDERS, Event, Fact, order_id_of, participant_id
from contracts.errors import Code
from contracts.message import Id, ListOpen, OpenTransactions
from contracts.order import WORKFLOWS_QUEUE, Order, OrderOnRecord, OrderOptions, OrderState, ReadOrders, transaction_id
from lanes.outcome import result_of
from recovery.runs import Asked, Status, asked, newest_run_for, started_with
from recovery.tolerance import Round, parts
from runtime.connection import CLOSED_FROM_OUTSIDE
from runtime.events import EventBus
from runtime.execute import execute
from saga import Operation

FINISH_TIMEOUT_S = 60
"""How long the sweep waits for one order. What takes longer is parked, and goes on without it."""
_A_QUESTION = 100
"""Orders that `order.read_orders` takes at a time."""
_CLOSED = f"{DECIDERS} AND {handles.CLOSED_BY_OTHERS}"
_CLOSED_BATCHES = f"WorkflowType = '{BATCH_WORKFLOW}' AND {handles.CLOSED_BY_OTHERS}"
_ID: TypeAdapter[str] = TypeAdapter(Id)


@dataclass
class Records:
    """What the order service knows of some transactions. `unreadable` are orders too."""

    orders: dict[str, OrderOnRecord] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)

    def __contains__(self, transaction: str) -> bool:
        return transaction in self.orders or transaction in self.unreadable


async def on_record(client: Client, transactions: Sequence[str]) -> Records:
    """Raises `OperationFailed`: without the record nobody knows whose a transaction is."""
    found = Records()
    for part in parts(transactions, _A_QUESTION):
        answer = await execute(client, order.read_orders, ReadOrders(transaction_ids=tuple(part)))
        found.orders |= {placed.order.transaction_id: placed for placed in answer.orders}
        found.unreadable |= {each.transaction_id: each.problem for each in answer.unreadable}
    return found


@dataclass(frozen=True)
class Coordinated:
    """An order, and the workflow that has the last word about it."""

    placed: OrderOnRecord
    coordinator: str
    status: Status | None

    @property
    def is_closed_from_outside(self) -> bool:
        return self.status in CLOSED_FROM_OUTSIDE

    @property
    def is_choreographed(self) -> bool:
        return self.coordinator == _participant(self.placed)

    @property
    def may_be_left(self) -> bool:
        """Whether nobody brings it to an end, if something is held for it."""
        # A participant fails because another order is on record under its id, and that is the one looked at here.
        failed = self.is_choreographed and self.status is Status.FAILED
        forgotten = self.status is None and not self.placed.has_skips
        return forgotten or self.is_closed_from_outside or failed

    def is_left(self, still_open: set[str]) -> bool:
        """Whether it is, when something is held for `still_open`. An order whose coordinator was closed from outside
        needs an end even if nothing is held: its owner has not been told one."""
        return self.is_closed_from_outside or (self.may_be_left and self.placed.order.transaction_id in still_open)


class OrderSweep:
    """`page` is how many transactions a service is asked for at a time."""

    def __init__(self, client: Client, round_: Round, page: int) -> None:
        self._client = client
        self._round = round_
        self._page = page

    async def left_behind(self) -> list[Coordinated]:
        """Orders whose coordinator is closed without an end, and those open at a service that have none."""
        still_open = await self._open()
        closed = await self._closed()
        batched = await self._in_closed_batches()
        wanted = sorted(still_open | batched.keys() | {transaction_id(order_id_of(name)) for name in closed})
        records = await self._round.tried(order.read_orders.name, on_record(self._client, wanted))
        if records is None:
            return []
        for transaction, problem in records.unreadable.items():
            self._round.note(transaction, Code.UNREADABLE, f"the order on record: {problem}")
        forgotten = [name for name in closed if transaction_id(order_id_of(name)) not in records]
        unrecorded = await self._round.each(forgotten, str, self._in_history)
        unrecorded += [placed for transaction, placed in batched.items() if transaction not in records]
        placed = [*records.orders.values(), *unrecorded]
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
            found |= {transaction for transaction in page if transaction.startswith("order/")}
            if len(page) < self._page:
                return found
            after = page[-1]

    async def _closed(self) -> list[str]:
        """The workflows that have, or had, a run that was closed from outside, and that can be an order's."""
        found = {run.id async for run in handles.listed(self._client, _CLOSED)}
        return sorted(name for name in found if _is_an_orders(name))

    async def _in_closed_batches(self) -> dict[str, OrderOnRecord]:
        """The orders of batches that were closed from outside, by transaction: as they were placed."""
        names = {run.id async for run in handles.listed(self._client, _CLOSED_BATCHES)}
        found: dict[str, OrderOnRecord] = {}
        for orders in await self._round.each(sorted(names), str, self._orders_of):
            found |= orders
        return found

    async def _orders_of(self, batch: str) -> dict[str, OrderOnRecord]:
        documents, *_ = [*await started_with(self._client, batch), None]
        try:
            orders, _ = parse(json.dumps(documents).encode())
        except InvalidBatch as error:
            self._round.note(batch, Code.INVALID_ORDER, str(error))
            return {}
        return {
            placed.transaction_id: OrderOnRecord(order=placed, coordinator=batch, state=OrderState.PENDING)
            for placed in orders
        }

    async def _in_history(self, workflow_id: str) -> OrderOnRecord | None:
        """An order that is on no record, from what its workflow was started with; `None` if that is gone as well, or
        has an end by now."""
        if await handles.status_of(self._client, workflow_id) not in CLOSED_FROM_OUTSIDE:
            return None
        arguments = await started_with(self._client, workflow_id)
        if not arguments:
            return None
        wanted = asked(arguments)
        if wanted is None or transaction_id(order_id_of(workflow_id)) != wanted.order.transaction_id:
            self._round.note(
                workflow_id, Code.INVALID_ORDER, "it was started with something that is no order of its id"
            )
            return None
        choreographed = workflow_id == participant_id(wanted.order.order_id, order.create.service)
        coordinator = workflow_id if choreographed else wanted.coordinator
        return OrderOnRecord(order=wanted.order, coordinator=coordinator, state=OrderState.PENDING)

    async def _coordinated(self, placed: Sequence[OrderOnRecord]) -> list[Coordinated]:
        return await self._round.each(placed, lambda each: each.order.transaction_id, self._look_up)

    async def _look_up(self, placed: OrderOnRecord) -> Coordinated:
        transaction, coordinator = placed.order.transaction_id, placed.coordinator
        own = await newest_run_for(self._client, transaction, Asked(placed.order, coordinator))
        if own is not None or coordinator is None:
            return Coordinated(placed, transaction, own)
        return Coordinated(placed, coordinator, await handles.status_of(self._client, coordinator))

    async def finish(self, left: Coordinated) -> bool:
        """Give the order a new run of its workflow; true if that came to an end."""
        if left.is_choreographed:
            return await self._play_on(left.placed.order)
        placed = left.placed
        try:
            handle = await self._client.start_workflow(
                "OrderWorkflow",
                args=[
                    placed.order.model_dump(mode="json"),
                    OrderOptions(recovering=True, coordinator=placed.coordinator),
                ],
                id=placed.order.transaction_id,
                task_queue=WORKFLOWS_QUEUE,
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
                id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
            )
        except WorkflowAlreadyStartedError:
            return False  # another sweep was faster
        try:
            await asyncio.wait_for(result_of(handle), FINISH_TIMEOUT_S)
        except WorkflowFailureError as error:
            return isinstance(error.cause, ApplicationError)  # rolled back: that is an end
        except TimeoutError:
            return False
        return True

    async def _play_on(self, placed: Order) -> bool:
        """Tell the order's participant anew that it was placed; true if it has come to its end."""
        event = Event(transaction_id=placed.transaction_id, fact=Fact.ORDER_PLACED, order=placed)
        await EventBus(self._client).tell(event, order.create.service)
        participant = self._client.get_workflow_handle(participant_id(placed.order_id, order.create.service))
        try:
            await asyncio.wait_for(result_of(participant), FINISH_TIMEOUT_S)
        except (TimeoutError, WorkflowFailureError):
            return False
        return True


def _participant(placed: OrderOnRecord) -> str:
    return participant_id(placed.order.order_id, order.create.service)


def _is_an_orders(workflow_id: str) -> bool:
    """Any client can start a workflow under any name; no order can have another than these."""
    order_id = order_id_of(workflow_id)
    try:
        _ID.validate_python(order_id)
    except ValidationError:
        return False
    return workflow_id in (transaction_id(order_id), participant_id(order_id, order.create.service))
