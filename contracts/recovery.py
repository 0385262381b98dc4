"""The sweep: it finds orders and transactions that no workflow runs any more, and finishes or undoes them."""

from datetime import timedelta

from pydantic import StrictInt

from contracts.message import Message, Reply
from contracts.order import WORKFLOWS_QUEUE
from temporal_saga import Operation

MAX_NAMED = 200
"""Failures that a sweep names in its reply, which must fit into a payload. The log has all of them."""


class SweepOrders(Message):
    pass


class NotSwept(Message):
    """An order, a transaction or a service that the sweep could not examine or recover."""

    id: str
    """The id of a workflow or of a transaction, or the name of the operation that failed."""
    code: str
    message: str


class Swept(Reply):
    """The result of one sweep."""

    found: StrictInt
    """Orders and transactions that had no running workflow."""
    finished: StrictInt
    """The number of those that have an outcome now."""
    orders: tuple[str, ...]
    """The ids of the orders among `found`."""
    transactions: tuple[str, ...] = ()
    """The ids of the generic transactions among `found`."""
    unfinished: tuple[str, ...] = ()
    """The workflow ids of those that have no outcome yet. They continue without the sweep."""
    leases_ended: StrictInt = 0
    """Holds that were undone because their lease was over and no order or workflow knew their transaction."""
    failed: StrictInt = 0
    """Orders, transactions and services that could not be examined or recovered."""
    failures: tuple[NotSwept, ...] = ()
    """The first `MAX_NAMED` of those."""


TIMEOUT = timedelta(minutes=10)
"""Of one sweep: hundreds of orders that park, or thousands that do not. The next sweep takes the rest."""
HEARTBEAT_TIMEOUT = timedelta(seconds=60)
"""A sweep whose worker was killed is begun anew after it. The schedule starts no other meanwhile."""

sweep = Operation("recovery.sweep", SweepOrders, Swept, queue=WORKFLOWS_QUEUE)
