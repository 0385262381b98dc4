"""Orders as the order service has them on record: who coordinates each, and how it stands."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from temporalio.client import Client

from client.engines.engine import OrderStatus
from client.errors import OrderRetired, UnreadableOrder
from contracts import order
from contracts.errors import Code
from contracts.ids import Coordinator
from contracts.order import OrderOnRecord, OrderState, ReadOrders
from runtime.execute import execute
from temporal_saga import Failure, State, TransactionLog

_READ_AT_ONCE = 100
"""Orders that `order.read_orders` takes at a time."""
_ENDS = {OrderState.CONFIRMED: State.CONFIRMED, OrderState.CANCELLED: State.ROLLED_BACK}


@dataclass
class Records:
    """What is known of some transactions. Those in `unreadable` are orders too, with what is wrong with each; those in
    `retired` were, until then."""

    orders: dict[str, OrderOnRecord] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)
    retired: dict[str, datetime] = field(default_factory=dict)

    def __contains__(self, transaction_id: str) -> bool:
        return any(transaction_id in known for known in (self.orders, self.unreadable, self.retired))

    def get(self, transaction_id: str) -> OrderOnRecord | None:
        """The order on record, `None` if there is none. Raises `UnreadableOrder` and `OrderRetired`."""
        if (at := self.retired.get(transaction_id)) is not None:
            raise OrderRetired(f"{transaction_id} has ended and was retired on {at:%Y-%m-%d}: its record is removed")
        if (problem := self.unreadable.get(transaction_id)) is not None:
            message = f"{transaction_id} is on record, but this build cannot read it ({problem}); use a later build"
            raise UnreadableOrder(message)
        return self.orders.get(transaction_id)


async def on_record(client: Client, transaction_ids: Sequence[str]) -> Records:
    """Ask the order service. Raises `OperationFailed`, and `ValidationError` for what cannot be a transaction's id."""
    found = Records()
    for start in range(0, len(transaction_ids), _READ_AT_ONCE):
        wanted = tuple(transaction_ids[start : start + _READ_AT_ONCE])
        answer = await execute(client, order.read_orders, ReadOrders(transaction_ids=wanted))
        found.orders |= {placed.order.transaction_id: placed for placed in answer.orders}
        found.unreadable |= {each.transaction_id: each.problem for each in answer.unreadable}
        found.retired |= answer.retired
    return found


def coordinator_of(placed: OrderOnRecord) -> Coordinator:
    """The workflow that decides about an order on record."""
    return Coordinator.parse(placed.coordinator or placed.order.transaction_id)


def as_on_record(placed: OrderOnRecord) -> OrderStatus:
    """How an order stands whose coordinator Temporal has forgotten: after its retention, or because it was deleted.

    The record holds the decision, which is final: a confirmed order stays confirmed. It does not hold the steps, nor
    whether a finish or an undo is still open; so the log has none, and its error says that this is only the record.
    """
    gone = "no workflow that coordinates it is in Temporal any more"
    state = _ENDS.get(placed.state, State.RUNNING)
    failure = Failure(
        Code.FORGOTTEN,
        f"{gone}: the order service's record says {placed.state}, and `starter.py sweep` completes what may be open",
    )
    if not state.is_end:
        failure = Failure(Code.CLOSED_FROM_OUTSIDE, f"{gone}; `starter.py sweep` brings the order to its end")
    elif placed.has_skips:
        state = state.with_skips
    log = TransactionLog(placed.order.transaction_id, state, failure)
    return OrderStatus(log, closed=True, coordinator=coordinator_of(placed))
