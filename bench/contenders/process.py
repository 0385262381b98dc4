"""The order process as a plain list: what the contenders that are not ours do, over the same services.

The operations and requests are those of `workflows/order.py`, one after the other, as the samples of every engine
write a saga.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from contracts import inventory, notification, order, payment, shipping
from contracts.message import Request
from contracts.order import Order
from temporal_saga import Operation
from workflows.order import Requests


@dataclass(frozen=True)
class Step:
    operation: Operation[Any, Any]
    request: Request
    undo: Operation[Any, Any] | None = None


def steps(placed: Order) -> list[Step]:
    requests = Requests.of(placed)
    return [
        Step(order.create, requests.create, undo=order.cancel),
        Step(payment.authorize, requests.payment, undo=payment.cancel),
        Step(inventory.reserve, requests.stock, undo=inventory.release),
        Step(shipping.schedule, requests.shipment, undo=shipping.cancel),
        Step(order.confirm, requests.confirm),
        Step(payment.capture, requests.payment),
        Step(inventory.commit, requests.stock),
        Step(shipping.dispatch, requests.shipment),
        Step(notification.send_confirmation, requests.notification),
    ]


async def run_saga(placed: Order, perform: Callable[[Step], Awaitable[object]], refused: type[Exception]) -> str:
    """Perform the steps, and on `refused` the compensations in reverse order. Returns the order's state.

    A rollback ends with the message to the customer, a call like any other, so each contender pays for it.
    """
    compensations = [Step(notification.send_cancellation, Requests.of(placed).notification)]
    try:
        for step in steps(placed):
            if step.undo is not None:
                compensations.append(Step(step.undo, step.request))
            await perform(step)
    except refused:
        for compensation in reversed(compensations):
            await perform(compensation)
        return "ROLLED_BACK"
    return "CONFIRMED"
