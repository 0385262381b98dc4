"""The sweep: orders that a service still holds something for, and that no workflow is bringing to an end.

A workflow can be closed without an end: terminated by hand, timed out by an execution timeout that somebody set, cut by
the history limit, lost with its namespace. What it held is still in the services' records, and that is where the sweep
looks; Temporal is only asked whether the workflow runs. Each such order gets a new run of its own workflow, which
undoes it or, past the pivot, finishes it, through the fence. So a sweep may run at any time, twice, and beside running
orders. A choreographed order has no such workflow: its participants bring one another back, but not the one that was
the last to go, so its placing is said once more.

An order that was closed while nothing was held for it is in no record: Temporal lists it, and it gets the end that its
owner has not been told.

What is held for a transaction that no order and no workflow knows, it gives back when its lease is over.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import Any, TypeVar

from pydantic import ValidationError
from temporalio import activity
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import ApplicationError, WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from contracts import inventory, order, payment, shipping
from contracts.choreography import DECIDERS, Event, Fact, participant_id
from contracts.message import ListOpen, OpenTransactions, Request
from contracts.order import WORKFLOWS_QUEUE, Order, OrderOnRecord, OrderOptions, OrderState, ReadOrders
from contracts.recovery import SweepOrders, Swept, sweep
from contracts.transaction import workflow_id as transaction_workflow_id
from recovery.skips import keep_skips
from runtime.ask import AskFailed, ask
from runtime.connection import CLOSED_FROM_OUTSIDE
from runtime.events import EventBus
from saga import Operation

_AT_ONCE = 50
"""Orders looked up, or brought to an end, at a time: a sweep must not crowd out the orders under way."""
_FINISH_TIMEOUT_S = 60
"""How long the sweep waits for one order. What takes longer is parked, and goes on without it."""
T = TypeVar("T")

_CLOSED_ORDERS = f"{DECIDERS} AND ExecutionStatus IN ('Terminated', 'TimedOut', 'Canceled')"
_HOLDING = (order.list_open, payment.list_open, inventory.list_open, shipping.list_open)
_LEASES: tuple[tuple[Operation[ListOpen, Any], Operation[Any, Any]], ...] = (
    (inventory.list_expired, inventory.release),
    (payment.list_expired, payment.cancel),
)


class Recovery:
    """The sweep as an activity of the workflows' own queue."""

    def __init__(self, client: Client) -> None:
        self._client = client

    @activity.defn(name=sweep.name)
    async def sweep(self, _: SweepOrders) -> Swept:
        await keep_skips(self._client)
        try:
            left = await self._left_behind()
            finished = await _in_batches(left, self._finish)
            leases = [await self._end_leases(expired, undo) for expired, undo in _LEASES]
        except AskFailed as error:  # under its own code, so that the command line knows it
            raise ApplicationError(error.message, type=error.code) from error
        ids = tuple(placed.order.order_id for placed in left)
        return Swept(
            found=len(left),
            finished=sum(finished),
            orders=ids,
            leases_ended=sum(leases),
            attempt=activity.info().attempt,
        )

    async def _left_behind(self) -> list[OrderOnRecord]:
        """Orders whose workflow is closed without an end, and those open at a service that have none."""
        candidates = [placed async for placed in self._on_record(sorted(await self._open()))]
        recorded = {_decider(placed) for placed in candidates}
        candidates += [placed async for placed in self._closed_besides(recorded)]
        left = await _in_batches(candidates, self._is_left)
        without_workflow = [placed for placed, gone in zip(candidates, left, strict=True) if gone]
        if not without_workflow:
            return []
        # Asked again: an order that ended between the first question and the look at its workflow is not open now.
        still_open = await self._open()
        return [
            placed
            for placed in without_workflow
            if placed.order.transaction_id in still_open or await self._status(_decider(placed)) in CLOSED_FROM_OUTSIDE
        ]

    async def _closed_besides(self, recorded: set[str]) -> AsyncIterator[OrderOnRecord]:
        """More orders with a run that was closed from outside."""
        closed = {found.id async for found in self._client.list_workflows(_CLOSED_ORDERS)}
        for workflow_id in sorted(closed - recorded):
            placed = await self._in_history(workflow_id)
            if placed is not None and _decider(placed) == workflow_id:
                yield placed

    async def _in_history(self, workflow_id: str) -> OrderOnRecord | None:
        """What the newest run of an order's workflow was started with; `None` if that is gone, or was no order."""
        try:
            first = await anext(self._client.get_workflow_handle(workflow_id).fetch_history_events(page_size=1))
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return None
            raise
        payloads = first.workflow_execution_started_event_attributes.input.payloads
        document, options = (*await self._client.data_converter.decode(payloads), None, None)[:2]
        try:
            placed, carrier = Order.model_validate(document), OrderOptions.model_validate(options or {}).carrier
        except ValidationError:
            return None
        if workflow_id == participant_id(placed.order_id, order.create.service):
            carrier = workflow_id
        return OrderOnRecord(order=placed, carrier=carrier, state=OrderState.PENDING)

    async def _open(self) -> set[str]:
        found: set[str] = set()
        for operation in _HOLDING:
            found |= {transaction async for transaction in self._pages(operation)}
        return {transaction for transaction in found if transaction.startswith("order/")}

    async def _pages(self, operation: Operation[ListOpen, OpenTransactions]) -> AsyncIterator[str]:
        after = ""
        while True:
            page = (await ask(self._client, operation, ListOpen(after=after))).transaction_ids
            for transaction in page:
                yield transaction
            if len(page) < ListOpen().limit:
                return
            after = page[-1]

    async def _is_left(self, placed: OrderOnRecord) -> bool:
        """Whether nobody brings it to an end. A workflow that completed or failed has said how it ended: what is still
        open then, an operator has skipped, and it is not for a sweep to overrule them. But a participant fails because
        another order is on record under its id, and that is the one looked at here."""
        workflows = {placed.order.transaction_id, placed.carrier or placed.order.transaction_id}
        statuses = {workflow_id: await self._status(workflow_id) for workflow_id in workflows}
        if WorkflowExecutionStatus.RUNNING in statuses.values():
            return False
        if _is_choreographed(placed) and statuses[_decider(placed)] is WorkflowExecutionStatus.FAILED:
            return True
        return any(status in CLOSED_FROM_OUTSIDE for status in statuses.values()) or not any(statuses.values())

    async def _status(self, workflow_id: str) -> WorkflowExecutionStatus | None:
        """`None` for one that is past its retention, or lost with its namespace."""
        try:
            return (await self._client.get_workflow_handle(workflow_id).describe()).status
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return None
            raise

    async def _on_record(self, transactions: Sequence[str]) -> AsyncIterator[OrderOnRecord]:
        for part in _parts(transactions, 100):
            for placed in (await ask(self._client, order.read_orders, ReadOrders(transaction_ids=tuple(part)))).orders:
                yield placed

    async def _end_leases(self, expired: Operation[ListOpen, Any], undo: Operation[Any, Any]) -> int:
        """Undo what has outlived its lease and has nobody: no order, whose saga sees to it, and no workflow."""
        ended, page = 0, ListOpen()
        while True:
            requests: tuple[Request, ...] = (await ask(self._client, expired, page)).requests
            for request in await self._without_owner(requests):
                await ask(self._client, undo, request)
                ended += 1
            if len(requests) < page.limit:
                return ended
            page = ListOpen(after=requests[-1].transaction_id)

    async def _without_owner(self, requests: Sequence[Request]) -> list[Request]:
        ids = [request.transaction_id for request in requests]
        known = {placed.order.transaction_id async for placed in self._on_record(ids)}
        candidates = [request for request in requests if request.transaction_id not in known]
        looked_after = await _in_batches(candidates, self._has_workflow)
        return [request for request, has_one in zip(candidates, looked_after, strict=True) if not has_one]

    async def _has_workflow(self, request: Request) -> bool:
        """Whether a workflow named after the transaction runs, as an order's and a generic transaction's are, or has
        said how it ended: what it holds then, it was told to. A part of one, `t-1/goods`, is `t-1`'s."""
        whole = request.transaction_id.partition("/")[0]
        names = (request.transaction_id, transaction_workflow_id(whole))
        statuses = [await self._status(name) for name in names]
        return any(status is not None and status not in CLOSED_FROM_OUTSIDE for status in statuses)

    async def _finish(self, placed: OrderOnRecord) -> bool:
        """Give the order a new run of its workflow; true if that came to an end."""
        if _is_choreographed(placed):
            return await self._play_on(placed.order)
        options = OrderOptions(recovering=True, carrier=placed.carrier)
        try:
            handle = await self._client.start_workflow(
                "OrderWorkflow",
                args=[placed.order.model_dump(mode="json"), options],
                id=placed.order.transaction_id,
                task_queue=WORKFLOWS_QUEUE,
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
                id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
            )
        except WorkflowAlreadyStartedError:
            return False  # another sweep was faster
        try:
            await asyncio.wait_for(handle.result(), _FINISH_TIMEOUT_S)
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
            await asyncio.wait_for(participant.result(), _FINISH_TIMEOUT_S)
        except (TimeoutError, WorkflowFailureError):
            return False
        return True


def _is_choreographed(placed: OrderOnRecord) -> bool:
    return placed.carrier == participant_id(placed.order.order_id, order.create.service)


def _decider(placed: OrderOnRecord) -> str:
    """The workflow that decides about the order, unless a batch carries it."""
    return placed.carrier if placed.carrier and _is_choreographed(placed) else placed.order.transaction_id


def _parts(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[start : start + size] for start in range(0, len(items), size))


async def _in_batches(items: Sequence[T], look: Callable[[T], Awaitable[bool]]) -> list[bool]:
    return [answer for part in _parts(items, _AT_ONCE) for answer in await asyncio.gather(*map(look, part))]
