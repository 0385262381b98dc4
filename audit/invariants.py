"""The invariants inside one service's database: one query for each, which returns only the rows that break it."""

from sqlalchemy import ColumnElement, RowMapping, and_, case, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from activities.catalogue import SERVICES
from activities.fence import RecordState
from activities.inventory import CARRIED as CARRIED_UNITS
from activities.inventory import Reservation, Stock
from activities.payment import CARRIED as CARRIED_MONEY
from activities.payment import Account, Payment
from audit.report import Check, Violation
from contracts.inventory import ReservationState
from contracts.payment import PaymentState


async def stock(connection: AsyncConnection) -> list[Violation]:
    """Check that on_hand + committed = received, reserved = the held reservations, and 0 <= reserved <= on_hand.

    What retired transactions have committed is carried forward.
    """
    goods, reservations = Stock.table.c, Reservation.table.c
    carried = func.coalesce(CARRIED_UNITS.c.committed, 0)

    def units(state: ReservationState) -> ColumnElement[int]:
        return func.coalesce(func.sum(case((reservations.state == state, reservations.quantity), else_=0)), 0)

    held, committed = units(ReservationState.HELD), units(ReservationState.COMMITTED) + carried
    broken = or_(
        goods.on_hand + committed != goods.received,
        goods.reserved != held,
        goods.reserved < 0,
        goods.reserved > goods.on_hand,
    )
    query = (
        select(
            goods.sku, goods.received, goods.on_hand, goods.reserved, held.label("held"), committed.label("committed")
        )
        .select_from(
            Stock.table.outerjoin(Reservation.table, goods.sku == reservations.sku).outerjoin(
                CARRIED_UNITS, goods.sku == CARRIED_UNITS.c.sku
            )
        )
        .group_by(goods.sku, goods.received, goods.on_hand, goods.reserved, CARRIED_UNITS.c.committed)
        .having(broken)
    )
    found = (await connection.execute(query)).mappings()
    message = "received must be on_hand + committed, and reserved the sum of what is held"
    return [_violation(Check.STOCK, row, "sku", message) for row in found]


async def money(connection: AsyncConnection) -> list[Violation]:
    """Check that balance + captured = deposited, held = the authorized payments, and 0 <= held <= balance.

    What retired transactions have captured is carried forward.
    """
    accounts, payments = Account.table.c, Payment.table.c
    carried = func.coalesce(CARRIED_MONEY.c.captured_minor, 0)

    def amount(state: PaymentState) -> ColumnElement[int]:
        return func.coalesce(func.sum(case((payments.state == state, payments.amount_minor), else_=0)), 0)

    authorized, captured = amount(PaymentState.AUTHORIZED), amount(PaymentState.CAPTURED) + carried
    broken = or_(
        accounts.balance_minor + captured != accounts.deposited_minor,
        accounts.held_minor != authorized,
        accounts.held_minor < 0,
        accounts.held_minor > accounts.balance_minor,
    )
    columns = [accounts.customer_id, accounts.deposited_minor, accounts.balance_minor, accounts.held_minor]
    query = (
        select(*columns, authorized.label("authorized"), captured.label("captured"))
        .select_from(
            Account.table.outerjoin(Payment.table, accounts.customer_id == payments.customer_id).outerjoin(
                CARRIED_MONEY, accounts.customer_id == CARRIED_MONEY.c.customer_id
            )
        )
        .group_by(*columns, CARRIED_MONEY.c.captured_minor)
        .having(broken)
    )
    found = (await connection.execute(query)).mappings()
    message = "deposited must be balance + captured, and held the sum of what is authorized"
    return [_violation(Check.MONEY, row, "customer_id", message) for row in found]


async def single_effect(connection: AsyncConnection, service: str) -> list[Violation]:
    """Check that no operation took effect twice for a transaction, or although it was refused or undone before."""
    effects = SERVICES[service].metadata.tables["effects"].c
    operation_records = SERVICES[service].operation_records.table.c
    times = func.count().label("times")
    twice = select(effects.transaction_id, effects.operation, times).group_by(effects.transaction_id, effects.operation)
    found = (await connection.execute(twice.having(func.count() > 1))).mappings()
    violations = [_violation(Check.SINGLE_EFFECT, row, "transaction_id", "took effect more than once") for row in found]

    same_step = and_(
        operation_records.transaction_id == effects.transaction_id, operation_records.step == effects.operation
    )
    late = select(effects.transaction_id, effects.operation, operation_records.state).where(
        same_step, operation_records.state.in_([RecordState.TOMBSTONE, RecordState.REFUSED])
    )
    found = (await connection.execute(late)).mappings()
    message = "took effect although it was undone or refused"
    return violations + [_violation(Check.SINGLE_EFFECT, row, "transaction_id", message) for row in found]


def _violation(check: Check, row: RowMapping, subject: str, message: str) -> Violation:
    figures: dict[str, int | str | None] = {
        name: value if isinstance(value, int) else str(value) for name, value in row.items() if name != subject
    }
    return Violation(invariant=check, subject=str(row[subject]), message=message, figures=figures)
