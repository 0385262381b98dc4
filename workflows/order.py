"""Placing an order: the saga over the services. `prepare`, `decide` and `commit` are the process."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Self

from temporalio import workflow

from contracts import inventory, notification, order, payment, shipping
from contracts.errors import Code
from contracts.inventory import ReserveStock, StockLine
from contracts.notification import NotifyCustomer
from contracts.order import ConfirmOrder, CreateOrder, NotificationMode, Order, OrderOptions
from contracts.outline import Outline
from contracts.payment import AuthorizePayment
from contracts.remedy import remedy_for
from contracts.shipping import ScheduleShipment
from temporal_saga import (
    POLICIES,
    DeskRefused,
    Entry,
    Failure,
    Plan,
    Saga,
    Status,
    StepFailed,
    TransactionLog,
    run_to_completion,
)
from workflows.announcing import announced
from workflows.cancellable import CancellableOrderWorkflow
from workflows.inputs import check_workflow_id, parse_input

_MOMENT = timedelta(milliseconds=1)
_ABANDONED = Failure(Code.ABANDONED, "its workflow was closed before the order was confirmed")


@dataclass(frozen=True)
class Requests:
    """The requests of one order. An operation and its undo take the same request."""

    create: CreateOrder
    payment: AuthorizePayment
    stock: ReserveStock
    shipment: ScheduleShipment
    notification: NotifyCustomer
    confirm: ConfirmOrder
    must_notify: bool

    @classmethod
    def of(cls, placed: Order, coordinator: str | None = None) -> Self:
        tx, order_id = placed.transaction_id, placed.order_id
        total, currency = placed.total_minor, placed.currency
        lines = tuple(StockLine(sku=line.sku, quantity=line.quantity) for line in placed.lines)
        return cls(
            create=CreateOrder(transaction_id=tx, order=placed, coordinator=coordinator),
            payment=AuthorizePayment(
                transaction_id=tx,
                order_id=order_id,
                customer_id=placed.customer_id,
                amount_minor=total,
                currency=currency,
            ),
            stock=ReserveStock(transaction_id=tx, order_id=order_id, lines=lines),
            shipment=ScheduleShipment(transaction_id=tx, order_id=order_id, ship_to=placed.ship_to),
            notification=NotifyCustomer(
                transaction_id=tx, order_id=order_id, contact=placed.contact, total_minor=total, currency=currency
            ),
            confirm=ConfirmOrder(transaction_id=tx, order_id=order_id),
            must_notify=placed.notification is NotificationMode.REQUIRED,
        )

    def explained(self, failure: Failure) -> NotifyCustomer:
        """The notification of a rollback, which tells the customer why."""
        return self.notification.model_copy(update={"cause": failure.code})


async def prepare(saga: Saga | Plan, requests: Requests) -> None:
    """Make the steps that can still be undone."""
    await saga.step(order.create, requests.create, undo=order.cancel)
    # Only from here on: the customer of an order that was never created is not told of its rollback.
    saga.on_rollback(notification.send_cancellation, requests.notification, explained=requests.explained)
    await saga.parallel(
        saga.step(payment.authorize, requests.payment, undo=payment.cancel),
        saga.step(inventory.reserve, requests.stock, undo=inventory.release),
        saga.step(shipping.schedule, requests.shipment, undo=shipping.cancel),
    )
    if requests.must_notify:
        await saga.step(notification.send_confirmation, requests.notification, undo=notification.send_cancellation)


async def decide(saga: Saga | Plan, requests: Requests) -> None:
    await saga.pivot(order.confirm, requests.confirm)


async def commit(saga: Saga | Plan, requests: Requests) -> None:
    """Do what the customer of a confirmed order was promised."""
    calls = [
        saga.finish(payment.capture, requests.payment),
        saga.finish(inventory.commit, requests.stock),
        saga.finish(shipping.dispatch, requests.shipment),
    ]
    if not requests.must_notify:
        calls.append(saga.best_effort(notification.send_confirmation, requests.notification))
    await saga.parallel(*calls)


def planned(requests: Requests, plan: Plan | None = None) -> Plan:
    """Return `prepare`, `decide` and `commit` as data, by default in a new plan.

    No two orders share a plan, as they may differ in their steps, and no two workflows, as each must ask
    `saga.patched` itself where the process has changed.
    """
    plan = plan or Plan()
    for phase in (prepare, decide, commit):
        plan.follow(phase(plan, requests))
    return plan


@workflow.defn
class OrderWorkflow(CancellableOrderWorkflow):
    """Ends CONFIRMED, or fails with an `ApplicationError` whose type is the code and whose detail is the log."""

    @workflow.init
    def __init__(self, document: Any = None, options: Any = None) -> None:
        self._order = parse_input(Order, document, Code.INVALID_ORDER)
        self._options = parse_input(OrderOptions, options or {}, Code.INVALID_ORDER)
        check_workflow_id(self._order.transaction_id, Code.INVALID_ORDER, "one order, one workflow")
        self._requests = Requests.of(self._order, self._options.coordinator)
        policies = POLICIES.colocated() if self._options.colocated else POLICIES
        self.saga = Saga(
            self._order.transaction_id,
            deadline=self._deadline,
            policies=policies,
            body=self._foreseen,
            remedy=remedy_for(self._order.order_id),
            announce=announced(),
        )

    @workflow.run
    async def run(self, document: Any = None, options: Any = None) -> TransactionLog:
        """Place the order. `document` is an `Order` as JSON, and `options` are `OrderOptions` or `None`."""
        async with self.saga as saga:
            if self._recovers:
                await self._recover(saga)
            else:
                await self._until_decided(saga)
            if self._options.colocated and not workflow.all_handlers_finished():
                # An answer leaves with its workflow task, which the local calls of the finishes would hold open.
                await run_to_completion(workflow.sleep(_MOMENT, summary="the decision is answered first"))
            await commit(saga, self._requests)
        return saga.log

    @workflow.query
    def outline(self) -> Outline | None:
        """The plan of the order; `None` where this workflow brings to its end what another has begun."""
        if self._recovers or self._options.prepared:
            return None
        return Outline.of(planned(self._requests, Plan(patches=self.saga.patches)))

    async def _until_decided(self, saga: Saga) -> None:
        try:
            if self._options.prepared:
                saga.assume_prepared()
            else:
                await prepare(saga, self._requests)
            await decide(saga, self._requests)
        except (StepFailed, asyncio.CancelledError):
            if await self._can_be_rolled_back(saga):
                raise

    async def _can_be_rolled_back(self, saga: Saga) -> bool:
        """Whether nobody has confirmed the order. Temporal may have forgotten an execution that made it, and it may
        belong to another saga: without an answer to its creation, neither is known."""
        creation = saga.log.steps[0] if saga.log.steps else None
        if creation is not None and _is_unknown(creation):
            saga.assume_prepared()
            return await self._try_cancel_decision(saga, foreign=Code.IDEMPOTENCY_CONFLICT)
        is_refused = creation is not None and _is_refused(creation)
        return not saga.is_rerun or is_refused or await self._try_cancel_decision(saga)

    async def _try_cancel_decision(self, saga: Saga, foreign: Code | None = None) -> bool:
        """Whether the order can be rolled back. An earlier execution may have confirmed it, although this one failed.

        The order service refuses to cancel a confirmed order. Once it has cancelled one, it refuses to confirm it.
        """
        committed = Code.CANCEL_REFUSED
        return await saga.try_cancel_decision(order.cancel, self._requests.create, committed=committed, foreign=foreign)

    async def _recover(self, saga: Saga) -> None:
        """Return if an earlier execution has confirmed the order. Otherwise roll back what that may have done."""
        left_by_batch = self._options.cause is not None  # which may not know whose the order is
        foreign = Code.IDEMPOTENCY_CONFLICT if left_by_batch else None
        if not await self._try_cancel_decision(saga, foreign):
            return
        saga.assume_prepared(but=order.cancel)
        raise StepFailed(_ABANDONED if self._options.cause is None else self._options.cause.failure)

    async def _foreseen(self, plan: Plan) -> None:
        """The body of the saga, without the pivot: `_try_cancel_decision` finds out whether that was reached."""
        await prepare(plan, self._requests)

    @property
    def _deadline(self) -> timedelta | None:
        """The deadline of the phase before the pivot, if this workflow runs it."""
        if self._recovers or self._options.prepared:
            return None
        whole, since = timedelta(seconds=self._order.deadline_s), self._options.placed_at
        return whole if since is None else max(whole - (workflow.now() - since), timedelta(milliseconds=1))

    @property
    def _recovers(self) -> bool:
        return self._options.recovering or self._options.cause is not None

    def _check_request(self, request: dict[str, Any]) -> None:
        check_order_of(request, self._order)


def _is_refused(creation: Entry) -> bool:
    """Whether the order service has refused to create the order: the order that it has belongs to another saga."""
    return creation.status is Status.REFUSED and creation.error_code != Code.STEP_UNDONE


def _is_unknown(creation: Entry) -> bool:
    return creation.step == order.create.name and creation.status is Status.UNKNOWN


def check_order_of(request: dict[str, Any], placed: Order) -> None:
    """Raise `DeskRefused` if an operator's new request names another order than `placed`.

    The desk has compared the transaction. Most requests also name the order, or carry an order or an event that does.
    """
    for named in _order_ids(request):
        if named != placed.order_id:
            raise DeskRefused(f"the request must be one of order {placed.order_id}, not of {named}")


def _order_ids(document: Any) -> Iterator[Any]:
    """Every `order_id` in a document."""
    if isinstance(document, dict):
        yield from (value for name, value in document.items() if name == "order_id")
        document = list(document.values())
    for each in document if isinstance(document, list) else ():
        yield from _order_ids(each)
