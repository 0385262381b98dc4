"""What a confirmed order is about: the money that was captured for it is its total, and the goods are those ordered."""

from collections import defaultdict
from collections.abc import Mapping

from pydantic import BaseModel, ValidationError
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from activities.inventory import Reservation
from activities.order import PlacedOrder
from activities.payment import Payment
from audit.report import Invariant, Violation
from contracts.ids import order_id_of
from contracts.inventory import ReservationState
from contracts.order import OrderLine, OrderState
from contracts.payment import PaymentState

Goods = Mapping[str, int]
"""Units by sku."""


class _Ordered(BaseModel):
    """What is read of an order document, which may be of an older build."""

    lines: tuple[OrderLine, ...]


async def violations(databases: Mapping[str, AsyncConnection]) -> list[Violation]:
    """The confirmed orders of which another amount was captured, or other goods were committed.

    What is missing altogether is left to `crossing`, which knows the orders that are under way or being retired.
    """
    orders = PlacedOrder.table.c
    confirmed = select(orders.transaction_id, orders.total_minor, orders.currency, orders.document).where(
        orders.state == OrderState.CONFIRMED
    )
    placed = (await databases["order"].execute(confirmed)).all()
    captured, committed = await _captured(databases["payment"]), await _committed(databases["inventory"])
    found = []
    for order, total, currency, document in placed:
        paid, got, goods = captured.get(order), committed.get(order), _goods_in(document)
        if paid is not None and paid != _money(total, currency):
            message = "a confirmed order must have captured its total"
            found.append(_violation(order, message, order=_money(total, currency), payment=paid))
        if got is not None and goods is not None and got != goods:
            message = "a confirmed order must have committed the goods that were ordered"
            found.append(_violation(order, message, order=_told(goods), inventory=_told(got)))
    return found


async def _captured(connection: AsyncConnection) -> dict[str, str]:
    payments = Payment.table.c
    captured = select(payments.transaction_id, payments.amount_minor, payments.currency).where(
        payments.state == PaymentState.CAPTURED
    )
    return {row.transaction_id: _money(row.amount_minor, row.currency) for row in await connection.execute(captured)}


async def _committed(connection: AsyncConnection) -> dict[str, Goods]:
    reservations = Reservation.table.c
    committed = select(reservations.transaction_id, reservations.sku, reservations.quantity).where(
        reservations.state == ReservationState.COMMITTED
    )
    goods: dict[str, dict[str, int]] = defaultdict(dict)
    for transaction_id, sku, quantity in await connection.execute(committed):
        goods[transaction_id][sku] = quantity
    return dict(goods)


def _goods_in(document: str) -> Goods | None:
    """The goods of an order; `None` for a document that this build cannot read."""
    try:
        return {line.sku: line.quantity for line in _Ordered.model_validate_json(document).lines}
    except ValidationError:
        return None


def _money(amount_minor: int, currency: str) -> str:
    return f"{amount_minor} {currency}"


def _told(goods: Goods) -> str:
    return ", ".join(f"{quantity} {sku}" for sku, quantity in sorted(goods.items()))


def _violation(transaction_id: str, message: str, **figures: str) -> Violation:
    subject = order_id_of(transaction_id)
    return Violation(invariant=Invariant.ALL_OR_NOTHING, subject=subject, message=message, figures={**figures})
