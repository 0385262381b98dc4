"""Placing an order: the saga over the five services. `run`, `_prepare` and `_commit` are the process."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from pydantic import ValidationError
from temporalio import workflow
from temporalio.exceptions import ApplicationError

from contracts import inventory, notification, order, payment, shipping
from contracts.errors import Code
from contracts.inventory import ReserveStock, StockLine
from contracts.notification import NotifyCustomer
from contracts.order import ConfirmOrder, CreateOrder, NotificationMode, Order
from contracts.payment import AuthorizePayment
from contracts.problems import first_problem
from contracts.shipping import ScheduleShipment
from saga import CancelRefused, Saga, SagaWorkflow, TransactionLog


@dataclass(frozen=True)
class Requests:
    """What the services are asked for this order: the same request goes to an operation and to its undo."""

    creation: CreateOrder
    charge: AuthorizePayment
    goods: ReserveStock
    parcel: ScheduleShipment
    letter: NotifyCustomer
    confirmation: ConfirmOrder

    @classmethod
    def of(cls, placed: Order) -> Requests:
        tx, order_id = placed.transaction_id, placed.order_id
        total, currency = placed.total_minor, placed.currency
        lines = tuple(StockLine(sku=line.sku, quantity=line.quantity) for line in placed.lines)
        return cls(
            creation=CreateOrder(transaction_id=tx, order=placed),
            charge=AuthorizePayment(
                transaction_id=tx,
                order_id=order_id,
                customer_id=placed.customer_id,
                amount_minor=total,
                currency=currency,
            ),
            goods=ReserveStock(transaction_id=tx, order_id=order_id, lines=lines),
            parcel=ScheduleShipment(transaction_id=tx, order_id=order_id, ship_to=placed.ship_to),
            letter=NotifyCustomer(
                transaction_id=tx, order_id=order_id, contact=placed.contact, total_minor=total, currency=currency
            ),
            confirmation=ConfirmOrder(transaction_id=tx, order_id=order_id),
        )


@workflow.defn
class OrderWorkflow(SagaWorkflow):
    """Ends CONFIRMED, or fails with an `ApplicationError` whose type is the code and whose detail is the log."""

    @workflow.init
    def __init__(self, document: Any = None, recovering: bool = False) -> None:  # noqa: FBT001, FBT002 — as `run`
        self._order = _valid(document)
        self._ask = Requests.of(self._order)
        deadline = None if recovering else timedelta(seconds=self._order.deadline_s)
        self._saga = Saga(self._order.transaction_id, deadline=deadline)

    @workflow.run
    async def run(self, document: Any = None, recovering: bool = False) -> TransactionLog:  # noqa: FBT001, FBT002 — JSON
        """`document` is an `Order` as JSON, checked here too: any client can start a workflow.

        `recovering` is set by the sweep, for an order whose workflow was closed without an end.
        """
        async with self._saga as saga:
            saga.on_rollback(notification.send_cancellation, self._ask.letter)
            if recovering:
                await self._take_over(saga)
            else:
                await self._prepare(saga)
                await saga.pivot(order.confirm, self._ask.confirmation)
            await self._commit(saga)
        return saga.log

    async def _prepare(self, saga: Saga) -> None:
        ask = self._ask
        await saga.step(order.create, ask.creation, undo=order.cancel)
        await saga.parallel(
            saga.step(payment.authorize, ask.charge, undo=payment.cancel),
            saga.step(inventory.reserve, ask.goods, undo=inventory.release),
        )
        await saga.step(shipping.schedule, ask.parcel, undo=shipping.cancel)
        if self._must_notify:
            await saga.step(notification.send_confirmation, ask.letter, undo=notification.send_cancellation)

    async def _commit(self, saga: Saga) -> None:
        ask = self._ask
        await saga.parallel(
            saga.finish(payment.capture, ask.charge),
            saga.finish(inventory.commit, ask.goods),
            saga.finish(shipping.dispatch, ask.parcel),
        )
        if not self._must_notify:
            await saga.best_effort(notification.send_confirmation, ask.letter)

    async def _take_over(self, saga: Saga) -> None:
        """Return if the order was confirmed before its workflow was closed; else roll back what that may have done.

        Cancelling the order tells which: it is refused for a confirmed one, and once it is done no late attempt at a
        confirmation gets through.
        """
        ask = self._ask
        if not await saga.revoke(order.cancel, ask.creation, committed=Code.CANCEL_REFUSED):
            return
        saga.assume(payment.cancel, ask.charge)
        saga.assume(inventory.release, ask.goods)
        saga.assume(shipping.cancel, ask.parcel)
        if self._must_notify:
            saga.assume(notification.send_cancellation, ask.letter)
        raise ApplicationError("its workflow was closed before the order was confirmed", type=Code.ABANDONED)

    @property
    def _must_notify(self) -> bool:
        return self._order.notification is NotificationMode.REQUIRED

    @workflow.update
    def cancel_order(self, reason: str) -> None:
        """Roll the order back; refused with CANCEL_REFUSED once its confirmation has been asked for."""
        self._saga.cancel(reason)

    @cancel_order.validator
    def _cancel_is_possible(self, reason: str) -> None:
        try:
            self._saga.check_cancellable()
        except CancelRefused as refused:
            raise ApplicationError(str(refused), type=Code.CANCEL_REFUSED, non_retryable=True) from refused


def _valid(document: Any) -> Order:
    try:
        placed = Order.model_validate(document)
    except ValidationError as error:  # not the cause: it would write the customer's data into the history
        raise ApplicationError(first_problem(error), type=Code.INVALID_ORDER, non_retryable=True) from None
    if workflow.info().workflow_id != placed.transaction_id:
        message = f"workflow id must be {placed.transaction_id}: one order, one workflow"
        raise ApplicationError(message, type=Code.INVALID_ORDER, non_retryable=True)
    return placed
