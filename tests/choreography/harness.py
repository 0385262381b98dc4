"""Every service with its real database and participants, and a broker between them that a test controls."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from temporalio import activity
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from activities.catalogue import SERVICES
from activities.database import Database, connect, reading
from activities.schema import migrate
from activities.service import Service
from audit import crossing, invariants
from audit.report import Violation
from cli.documents import document
from client import handles
from client.engines.choreography import ChoreographyEngine
from composition.workers import service_worker
from contracts import inventory, payment
from contracts.choreography import PARTICIPANTS, Event, Fact, Publish, Published
from contracts.errors import Code
from contracts.ids import participant_id
from contracts.inventory import SetStock
from contracts.order import Order
from contracts.payment import SetAccount
from runtime.events import EventBus
from temporal_saga import Operation, TransactionLog

_DELIVERIES = 600
"""Limit for one order: a healthy one takes about thirty, the worst of these tests two hundred. Pauses are not counted:
their number depends on the machine, and the test's timeout bounds them."""
_PAUSE_S = 0.3
"""The longest pause while there is nothing to deliver: the participants publish an event, or publish all again."""

_MAX_PAUSES = 34
"""10 s in all: every participant has published its events again by then."""
_AT_WORK = (WorkflowExecutionStatus.RUNNING, WorkflowExecutionStatus.COMPLETED)

Deliveries = list[tuple[Event, str]]
Schedule = Callable[[Deliveries], Deliveries]
"""Removes the next deliveries, maybe none, from those that wait."""
AfterDelivery = Callable[[Event, str], Awaitable[None]]


def an_order(order_id: str, **changes: Any) -> Order:
    line = {"sku": "BOOK-1", "quantity": 2, "unit_price_minor": 500}
    return Order.model_validate(document(order_id, "c-1", [line]) | {"deadline_s": 3600} | changes)


@dataclass
class Broker(Interceptor):
    """Keeps every event that a participant publishes. The test delivers it.

    An event that is published again before it was delivered is kept once.
    """

    waiting: defaultdict[str, Deliveries] = field(default_factory=lambda: defaultdict(list))
    """The undelivered events, by transaction id."""
    arrived: defaultdict[str, asyncio.Event] = field(default_factory=lambda: defaultdict(asyncio.Event))
    republish_s: float = 0
    """How long the publishing of an event takes that was published before."""
    known: set[tuple[str, str]] = field(default_factory=set)
    published_by: dict[tuple[str, str], str] = field(default_factory=dict)
    """The workflow that has published an event to a subscriber, maybe for a participant that had completed."""
    final_events: defaultdict[str, list[Event]] = field(default_factory=lambda: defaultdict(list))
    """The events of completed subscribers that a workflow gets when it publishes next."""
    broken: set[tuple[str, str]] = field(default_factory=set)
    """Pairs of a transaction and an operation that fails for it."""

    async def delay(self, request: Publish) -> None:
        event = (request.transaction_id, request.event.event_id)
        if event in self.known:
            await asyncio.sleep(self.republish_s)
        self.known.add(event)

    def put(self, request: Publish, sender: str) -> tuple[Event, ...]:
        waiting = self.waiting[request.transaction_id]
        self.arrived[request.transaction_id].set()
        known = {(event.fact, service) for event, service in waiting}
        waiting += [(request.event, service) for service in request.to if (request.event.fact, service) not in known]
        self.published_by |= {(request.event.event_id, service): sender for service in request.to}
        return tuple(self.final_events.pop(sender, ()))

    def answer(self, event: Event, service: str, final_events: tuple[Event, ...]) -> None:
        """Keep the answer to a delivery for the publisher. An event that the test itself has sent has none."""
        self.final_events[self.published_by.get((event.event_id, service), "")] += final_events

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002 — the SDK's name
        return _Kept(next, self)


class _Kept(ActivityInboundInterceptor):
    def __init__(self, next: ActivityInboundInterceptor, broker: Broker) -> None:  # noqa: A002 — the SDK's name
        super().__init__(next)
        self._broker = broker

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002 — the SDK's name
        document = input.args[0]
        if (document.get("transaction_id"), activity.info().activity_type) in self._broker.broken:
            raise ApplicationError("out of order", type=Code.SERVICE_UNAVAILABLE, non_retryable=True)
        if "event" not in document:
            return await super().execute_activity(input)
        request = Publish.model_validate(document)
        await self._broker.delay(request)
        return Published(final_events=self._broker.put(request, activity.info().workflow_id or ""))


@dataclass
class Harness:
    client: Client
    broker: Broker
    folder: Path
    databases: dict[str, Database]

    async def place(self, order: Order) -> None:
        placed = Event(transaction_id=order.transaction_id, fact=Fact.ORDER_PLACED, order=order)
        await EventBus(self.client).tell(placed, "order")

    async def log(self, order: Order) -> TransactionLog:
        found = await ChoreographyEngine(self.client).status(order.order_id)
        assert found is not None
        return found.log

    async def run(
        self, orders: Sequence[Order], schedule: Callable[[], Schedule], after_delivery: AfterDelivery | None = None
    ) -> list[TransactionLog]:
        """Place `orders` and bring each to its end with a schedule of its own. Return their logs."""
        return list(await asyncio.gather(*(self._run(order, schedule(), after_delivery) for order in orders)))

    async def _run(self, order: Order, schedule: Schedule, after_delivery: AfterDelivery | None) -> TransactionLog:
        """Deliver events until all participants have completed and no event is undelivered."""
        waiting, arrived = self.broker.waiting[order.transaction_id], self.broker.arrived[order.transaction_id]
        await self.place(order)
        delivered = pauses = 0
        while delivered < _DELIVERIES:
            deliveries = schedule(waiting)
            delivered += len(deliveries)
            for event, service in deliveries:
                self.broker.answer(event, service, await EventBus(self.client).tell(event, service))
                if after_delivery is not None:
                    await after_delivery(event, service)
            if deliveries or waiting:
                pauses = 0
                continue
            arrived.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(arrived.wait(), _PAUSE_S)
            pauses += 1
            if waiting or (decider := await self._status(order, "order")) is WorkflowExecutionStatus.RUNNING:
                continue
            ended = not await self._under_way(order)
            if ended and decider is WorkflowExecutionStatus.COMPLETED:
                return await self.log(order)
            if decider not in _AT_WORK and (ended or pauses > _MAX_PAUSES):
                await self.place(order)  # no participant is left that starts it again: as the sweep does
        raise AssertionError(f"no end: {await self.log(order)}, undelivered: {waiting}")

    async def _under_way(self, order: Order) -> bool:
        """Whether a participant runs."""
        for service in PARTICIPANTS:
            if await self._status(order, service) is WorkflowExecutionStatus.RUNNING:
                return True
        return False

    async def terminate(self, order: Order, service: str) -> bool:
        """Terminate a participant. False if it does not run."""
        try:
            await ChoreographyEngine(self.client).handle_of(order.order_id, service).terminate("terminated by a test")
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            return False
        return True

    async def _status(self, order: Order, service: str) -> WorkflowExecutionStatus | None:
        return await handles.status_of(self.client, participant_id(order.order_id, service))

    async def execute(self, operation: Operation[Any, Any], request: Any) -> Any:
        definition = SERVICES[operation.service]
        [handler] = [handler for handler in definition.handlers if handler.operation is operation]
        [answer] = await Service(definition, self.databases[operation.service]).perform(handler, [request])
        return answer

    async def violations(self) -> list[Violation]:
        """Return what the audit finds. No order may be under way."""
        async with AsyncExitStack() as stack:
            db = {}
            for name in self.databases:
                db[name] = await stack.enter_async_context(reading(_url(self.folder, name)))
            found = await invariants.stock(db["inventory"]) + await invariants.money(db["payment"])
            for service, connection in db.items():
                found += await invariants.single_effect(connection, service)
            orders, coordinators = await crossing.read_orders(db["order"])
            states = {name: await crossing.read_states(db[name], name) for name in crossing.WHOLE}
            return found + list(crossing.violations(crossing.Traces(orders, coordinators, states), set()))


def _url(folder: Path, service: str) -> str:
    return f"sqlite+aiosqlite:///{folder}/{service}.db"


@asynccontextmanager
async def serving_participants(client: Client, folder: Path) -> AsyncIterator[Harness]:
    broker = Broker()
    async with AsyncExitStack() as stack:
        databases = {}
        for name, definition in SERVICES.items():
            databases[name] = connect(_url(folder, name))
            stack.push_async_callback(databases[name].dispose)
            await migrate(databases[name], name)
            await stack.enter_async_context(service_worker(client, Service(definition, databases[name]), [broker]))
        made = Harness(client, broker, folder, databases)
        await made.execute(inventory.set_stock, SetStock(transaction_id="stock", sku="BOOK-1", on_hand=1000))
        await made.execute(
            payment.set_account, SetAccount(transaction_id="money", customer_id="c-1", balance_minor=10**6)
        )
        yield made
