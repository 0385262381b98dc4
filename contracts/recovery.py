"""Finding the orders and transactions whose workflow is gone, and bringing them to an end."""

from __future__ import annotations

from pydantic import StrictInt

from contracts.message import Message, Reply
from contracts.order import WORKFLOWS_QUEUE
from saga import Operation

MAX_NAMED = 200
"""Failures that a sweep names in its reply, which has to fit into a payload; the log names them all."""


class SweepOrders(Message):
    pass


class NotSwept(Message):
    """What could not be looked at or taken up, and why: an order, a transaction, or the question to a service.

    `id` is a workflow's or a transaction's id, or the name of an operation.
    """

    id: str
    code: str
    message: str


class Swept(Reply):
    """`found` orders and transactions were without a workflow, `finished` of them have an end now.

    `orders` are the ids of those orders, `transactions` those of the transactions given as data. `unfinished` are the
    workflow ids of those that have no end yet and go on by themselves. `failed` counts what could not be looked at or
    taken up; the first of it are named in `failures`. `leases_ended` counts what was put aside for a transaction that
    no order and no workflow knows, and was given back.
    """

    found: StrictInt
    finished: StrictInt
    orders: tuple[str, ...]
    transactions: tuple[str, ...] = ()
    unfinished: tuple[str, ...] = ()
    leases_ended: StrictInt = 0
    failed: StrictInt = 0
    failures: tuple[NotSwept, ...] = ()


sweep = Operation("recovery.sweep", SweepOrders, Swept, queue=WORKFLOWS_QUEUE)
