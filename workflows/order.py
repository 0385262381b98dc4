"""Placing an order: the saga over the five services. `_place` is the process, in business order."""

from __future__ import annotations

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
from saga import CancelRefused, Saga, TransactionLog


@workflow.defn
class OrderWorkflow:
    """Ends CONFIRMED, or fails with an `ApplicationError` whose type is the code and whose detail is the log."""

    @workflow.init
    def __init__(self, document: Any = None) -> None:
        self._order = _valid(document)
        self._saga = Saga(self._order.transaction_id, deadline=timedelta(seconds=self._order.deadline_s))

    @workflow.run
    async def run(self, document: Any = None) -> TransactionLog:
        """`document` is an `Order` as JSON, checked here too: any client can start a workflow."""
        async with self._saga as saga:
            await self._place(saga, self._order)
        return saga.log

    async def _place(self, saga: Saga, placed: Order) -> None:
        tx = placed.transaction_id
        creation = CreateOrder(transaction_id=tx, order=placed)
        charge = AuthorizePayment(
            transaction_id=tx,
            order_id=placed.order_id,
            customer_id=placed.customer_id,
            amount_minor=placed.total_minor,
            currency=placed.currency,
        )
        goods = ReserveStock(
            transaction_id=tx,
            order_id=placed.order_id,
            lines=tuple(StockLine(sku=line.sku, quantity=line.quantity) for line in placed.lines),
        )
        parcel = ScheduleShipment(transaction_id=tx, order_id=placed.order_id, ship_to=placed.ship_to)
        letter = NotifyCustomer(
            transaction_id=tx,
            order_id=placed.order_id,
            contact=placed.contact,
            total_minor=placed.total_minor,
            currency=placed.currency,
        )
        required = placed.notification is NotificationMode.REQUIRED

        saga.on_rollback(notification.send_cancellation, letter)
        await saga.step(order.create, creation, undo=order.cancel)
        await saga.parallel(
            saga.step(payment.authorize, charge, undo=payment.cancel),
            saga.step(inventory.reserve, goods, undo=inventory.release),
        )
        await saga.step(shipping.schedule, parcel, undo=shipping.cancel)
        if required:
            await saga.step(notification.send_confirmation, letter, undo=notification.send_cancellation)

        await saga.pivot(order.confirm, ConfirmOrder(transaction_id=tx, order_id=placed.order_id))

        await saga.parallel(
            saga.finish(payment.capture, charge),
            saga.finish(inventory.commit, goods),
            saga.finish(shipping.dispatch, parcel),
        )
        if not required:
            await saga.best_effort(notification.send_confirmation, letter)

    @workflow.query
    def transaction_log(self) -> TransactionLog:
        """Every step so far: what was called, when, how often, and what became of it."""
        return self._saga.log

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
