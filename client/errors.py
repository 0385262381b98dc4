"""What a client can be told instead of an answer. Each error has a code of `contracts.errors` and one line for people.

    ClientError
    ├── DuplicateOrder, DuplicateTransaction   the id is taken by another content
    ├── OrderRetired                           the order has ended, and its rows were removed for their age
    ├── UnknownOrder                           neither Temporal nor the order service knows the id
    ├── UnreadableOrder                        the order service has the order, but this build cannot read it
    ├── CancelRefused, AlreadyEnded            too late, or not for cancelling
    ├── UnknownCustomer, OpenOrders            there is nothing to erase, or it is too early
    ├── DeskRefused                            the operator's decision does not fit the call
    ├── NothingToRedo                          the order is under way, or its document is lost
    ├── ClosedFromOutside, Paused, LaneFull    the saga does not go on by itself now
    ├── NotAnswered                            an update waits in Temporal for a worker
    └── Silent                                 a workflow cannot answer a query

Temporal's own `RPCError`, and `OperationFailed` for a call to a service, pass through unchanged.
"""

from collections.abc import Sequence
from typing import ClassVar, Self

from contracts.errors import Code
from temporal_saga import Failure


class ClientError(Exception):
    """`code` is for programs, `message` for people."""

    code: str
    of: ClassVar[Code]
    """The code of every error of the class."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.code = self.of
        self.message = message


class DuplicateOrder(ClientError):
    of = Code.DUPLICATE_ORDER

    @classmethod
    def of_other_content(cls, order_id: str) -> Self:
        return cls(f"{order_id} was placed before with another content; choose another id")


class DuplicateTransaction(ClientError):
    of = Code.DUPLICATE_TRANSACTION


class OrderRetired(ClientError):
    of = Code.RETIRED


class UnknownCustomer(ClientError):
    of = Code.UNKNOWN_CUSTOMER


class OpenOrders(ClientError):
    of = Code.OPEN_ORDERS

    @classmethod
    def of_customer(cls, customer_id: str, order_ids: Sequence[str], named: int) -> Self:
        more = f" and {len(order_ids) - named} more" if len(order_ids) > named else ""
        orders = ", ".join(order_ids[:named]) + more
        return cls(f"customer {customer_id} has open orders: {orders}; wait for their end, or cancel them")


class UnknownOrder(ClientError):
    of = Code.UNKNOWN_ORDER

    @classmethod
    def known_as(cls, name: str) -> Self:
        return cls(f"there is no order or transaction {name[:80]}; `starter.py list` names the newest")


class UnreadableOrder(ClientError):
    of = Code.UNREADABLE


class CancelRefused(ClientError):
    of = Code.CANCEL_REFUSED


class AlreadyEnded(ClientError):
    of = Code.ALREADY_ENDED


class DeskRefused(ClientError):
    of = Code.DESK_REFUSED


class NothingToRedo(ClientError):
    of = Code.INVALID_REQUEST


class ClosedFromOutside(ClientError):
    of = Code.CLOSED_FROM_OUTSIDE


class Paused(ClientError):
    of = Code.PAUSED


class LaneFull(ClientError):
    of = Code.LANE_FULL


class NotAnswered(ClientError):
    of = Code.ASKED


class Silent(ClientError):
    """Its code is that of the reason: no worker answers, or the workflow is paused."""

    def __init__(self, workflow_id: str, why: Failure) -> None:
        super().__init__(f"{workflow_id}: {why.message}")
        self.code = why.code

    of = Code.SERVICE_UNAVAILABLE
