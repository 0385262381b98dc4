"""The invariants inside one service's database: one query for each, which returns only the rows that break it."""

from sqlalchemy import BigInteger, ColumnElement, RowMapping, and_, case, cast, func, or_, select, union
from sqlalchemy.ext.asyncio import AsyncConnection

from activities.catalogue import SERVICES
from activities.fence import RecordState
from activities.inventory import CARRIED as CARRIED_UNITS
from activities.inventory import Reservation, Stock
from activities.payment import CARRIED as CARRIED_MONEY
from activities.payment import Account, Payment
from audit.report import Invariant, Violation
from contracts.ids import order_id_of
from contracts.inventory import ReservationState
from contracts.payment import PaymentState


async def stock(connection: AsyncConnection) -> list[Violation]:
    """Check that on_hand + committed = received, reserved = the held reservations, and 0 <= reserved <= on_hand.

    What retired transactions have committed is carried forward. Nothing is held or committed of a sku without stock.
    """
    goods, reservations = Stock.table.c, Reservation.table.c
    skus = union(select(goods.sku), select(reservations.sku), select(CARRIED_UNITS.c.sku)).subquery("skus")
    carried = func.coalesce(CARRIED_UNITS.c.committed, 0)

    def units(state: ReservationState) -> ColumnElement[int]:
        return _sum(case((reservations.state == state, reservations.quantity), else_=0))

    held, committed = units(ReservationState.HELD), units(ReservationState.COMMITTED) + carried
    broken = or_(
        goods.on_hand + committed != goods.received,
        goods.reserved != held,
        goods.reserved < 0,
        goods.reserved > goods.on_hand,
        and_(goods.received.is_(None), held + committed > 0),
    )
    columns = [skus.c.sku, goods.received, goods.on_hand, goods.reserved]
    query = (
        select(*columns, held.label("held"), committed.label("committed"))
        .select_from(
            skus.outerjoin(Stock.table, skus.c.sku == goods.sku)
            .outerjoin(Reservation.table, skus.c.sku == reservations.sku)
            .outerjoin(CARRIED_UNITS, skus.c.sku == CARRIED_UNITS.c.sku)
        )
        .group_by(*columns, CARRIED_UNITS.c.committed)
        .having(broken)
    )
    found = (await connection.execute(query)).mappings()
    message = "received must be on_hand + committed, and reserved the sum of what is held"
    return [_violation(Invariant.STOCK, row, "sku", message) for row in found]


async def money(connection: AsyncConnection) -> list[Violation]:
    """Check that balance + captured = deposited, held = the authorized payments, and 0 <= held <= balance.

    What retired transactions have captured is carried forward. Nothing is authorized or captured without an account.
    """
    accounts, payments = Account.table.c, Payment.table.c
    customers = union(
        select(accounts.customer_id), select(payments.customer_id), select(CARRIED_MONEY.c.customer_id)
    ).subquery("customers")
    carried = func.coalesce(CARRIED_MONEY.c.captured_minor, 0)

    def amount(state: PaymentState) -> ColumnElement[int]:
        return _sum(case((payments.state == state, payments.amount_minor), else_=0))

    authorized, captured = amount(PaymentState.AUTHORIZED), amount(PaymentState.CAPTURED) + carried
    broken = or_(
        accounts.balance_minor + captured != accounts.deposited_minor,
        accounts.held_minor != authorized,
        accounts.held_minor < 0,
        accounts.held_minor > accounts.balance_minor,
        and_(accounts.deposited_minor.is_(None), authorized + captured > 0),
    )
    columns = [customers.c.customer_id, accounts.deposited_minor, accounts.balance_minor, accounts.held_minor]
    query = (
        select(*columns, authorized.label("authorized"), captured.label("captured"))
        .select_from(
            customers.outerjoin(Account.table, customers.c.customer_id == accounts.customer_id)
            .outerjoin(Payment.table, customers.c.customer_id == payments.customer_id)
            .outerjoin(CARRIED_MONEY, customers.c.customer_id == CARRIED_MONEY.c.customer_id)
        )
        .group_by(*columns, CARRIED_MONEY.c.captured_minor)
        .having(broken)
    )
    found = (await connection.execute(query)).mappings()
    message = "deposited must be balance + captured, and held the sum of what is authorized"
    return [_violation(Invariant.MONEY, row, "customer_id", message) for row in found]


async def single_effect(connection: AsyncConnection, service: str) -> list[Violation]:
    """Check that no operation took effect twice for a transaction, or although it was refused or undone before."""
    effects = SERVICES[service].metadata.tables["effects"].c
    operation_records = SERVICES[service].operation_records.table.c
    times = func.count().label("times")
    twice = select(effects.transaction_id, effects.operation, times).group_by(effects.transaction_id, effects.operation)
    found = (await connection.execute(twice.having(func.count() > 1))).mappings()
    violations = [
        _violation(Invariant.SINGLE_EFFECT, row, "transaction_id", "took effect more than once") for row in found
    ]

    same_step = and_(
        operation_records.transaction_id == effects.transaction_id, operation_records.step == effects.operation
    )
    late = select(effects.transaction_id, effects.operation, operation_records.state).where(
        same_step, operation_records.state.in_([RecordState.TOMBSTONE, RecordState.REFUSED])
    )
    found = (await connection.execute(late)).mappings()
    message = "took effect although it was undone or refused"
    return violations + [_violation(Invariant.SINGLE_EFFECT, row, "transaction_id", message) for row in found]


def _sum(values: ColumnElement[int]) -> ColumnElement[int]:
    """The sum as an integer: PostgreSQL's sum of integers is a decimal number."""
    return cast(func.coalesce(func.sum(values), 0), BigInteger)


def _violation(invariant: Invariant, row: RowMapping, subject: str, message: str) -> Violation:
    figures: dict[str, int | str | None] = {
        name: value if isinstance(value, int | None) else str(value) for name, value in row.items() if name != subject
    }
    return Violation(invariant=invariant, subject=order_id_of(str(row[subject])), message=message, figures=figures)
