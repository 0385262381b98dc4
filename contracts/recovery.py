"""Finding the orders whose workflow is gone, and bringing them to an end."""

from __future__ import annotations

from pydantic import StrictInt

from contracts.message import Message, Reply
from contracts.order import WORKFLOWS_QUEUE
from saga import Operation


class SweepOrders(Message):
    pass


class Swept(Reply):
    """`found` orders were without a workflow, `finished` of them have an end now; `orders` are their ids.

    `leases_ended` counts what was put aside for a transaction that no order and no workflow knows, and was given back.
    """

    found: StrictInt
    finished: StrictInt
    orders: tuple[str, ...]
    leases_ended: StrictInt = 0


sweep = Operation("recovery.sweep", SweepOrders, Swept, queue=WORKFLOWS_QUEUE)
