"""The inventory service: stock by sku, and the reservations of each transaction.

The lines of a request are reserved together or not at all. `on_hand` counts the units on the shelf, the reserved ones
included: for each sku, `received` = `on_hand` + committed - returned, and `reserved` = the sum of held reservations.
Units that retired transactions have committed are in `CARRIED`.
Concurrent orders conflict on the version of the stock row. The slower one reads and decides again, so nothing is
oversold.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, MetaData, func, select

from activities.definition import Leaves, Query, ServiceDefinition, implements, lists_open, readable
from activities.fence import Decision, RefusedDecision, declare_fence
from activities.records import Record, Ref, UnitOfWork, effects_table, record
from activities.retention import carried_forward, carry
from contracts import inventory
from contracts.errors import Code
from contracts.inventory import (
    ExpiredReservations,
    ListStock,
    ReservationState,
    ReserveStock,
    SetStock,
    StockLevel,
    StockLevels,
    StockLine,
    StockMoved,
    StockSet,
)
from contracts.message import LEASE, ListOpen

metadata = MetaData()
Fence = declare_fence(metadata)
effects_table(metadata)


@record(metadata, "stock", key=("sku",))
@dataclass(frozen=True)
class Stock(Record):
    sku: str
    received: int
    on_hand: int
    reserved: int

    @property
    def available(self) -> int:
        return self.on_hand - self.reserved


@record(metadata, "reservations", key=("transaction_id", "sku"))
@dataclass(frozen=True)
class Reservation(Record):
    transaction_id: str
    sku: str
    order_id: str
    quantity: int
    state: ReservationState
    lease_until: datetime


CARRIED = carried_forward(metadata, "sku", "committed")


def _rows_of(request: ReserveStock) -> Iterable[Ref]:
    for line in request.lines:
        yield Ref(Stock, (line.sku,))
        yield Ref(Reservation, (request.transaction_id, line.sku))


def _reservations(uow: UnitOfWork, request: ReserveStock) -> list[Reservation]:
    found = (uow.get(Reservation, request.transaction_id, line.sku) for line in request.lines)
    return [reservation for reservation in found if reservation is not None]


def _stock(uow: UnitOfWork, sku: str) -> Stock:
    stock = uow.get(Stock, sku)
    if stock is None:
        raise RefusedDecision(Code.UNKNOWN_SKU, f"there is no sku {sku}")
    return stock


@implements(inventory.reserve, touches=_rows_of)
def reserve(uow: UnitOfWork, request: ReserveStock) -> Decision[StockMoved]:
    changed: list[Record] = []
    until = uow.now + LEASE
    for line in request.lines:
        stock = _stock(uow, line.sku)
        if stock.available < line.quantity:
            message = f"{line.sku}: {line.quantity} wanted, {stock.available} available"
            raise RefusedDecision(Code.OUT_OF_STOCK, message)
        held = ReservationState.HELD
        changed.append(replace(stock, reserved=stock.reserved + line.quantity))
        changed.append(Reservation(request.transaction_id, line.sku, request.order_id, line.quantity, held, until))
    return Decision(StockMoved(lines=request.lines), changed)


@implements(inventory.release, touches=_rows_of)
def release(uow: UnitOfWork, request: ReserveStock) -> Decision[StockMoved]:
    """Make held units available again; return committed units to the shelf."""
    changed: list[Record] = []
    for reservation in _reservations(uow, request):
        stock = _stock(uow, reservation.sku)
        if reservation.state is ReservationState.HELD:
            changed.append(replace(stock, reserved=stock.reserved - reservation.quantity))
            changed.append(replace(reservation, state=ReservationState.RELEASED))
        elif reservation.state is ReservationState.COMMITTED:
            changed.append(replace(stock, on_hand=stock.on_hand + reservation.quantity))
            changed.append(replace(reservation, state=ReservationState.RETURNED))
    return Decision(StockMoved(lines=request.lines), changed)


@implements(inventory.commit, touches=_rows_of)
def commit(uow: UnitOfWork, request: ReserveStock) -> Decision[StockMoved]:
    """Take the reserved units off the shelf."""
    reservations = _reservations(uow, request)
    if len(reservations) < len(request.lines) or any(r.state is not ReservationState.HELD for r in reservations):
        raise RefusedDecision(
            Code.NOTHING_TO_ACT_ON, f"{request.transaction_id} does not hold all units that it commits"
        )
    changed: list[Record] = []
    for reservation in reservations:
        stock, quantity = _stock(uow, reservation.sku), reservation.quantity
        changed.append(replace(stock, on_hand=stock.on_hand - quantity, reserved=stock.reserved - quantity))
        changed.append(replace(reservation, state=ReservationState.COMMITTED))
    return Decision(StockMoved(lines=request.lines), changed)


@implements(inventory.set_stock, touches=lambda request: [Ref(Stock, (request.sku,))])
def set_stock(uow: UnitOfWork, request: SetStock) -> Decision[StockSet]:
    stock = uow.get(Stock, request.sku) or Stock(request.sku, 0, 0, 0)
    if request.on_hand < stock.reserved:
        raise RefusedDecision(
            Code.INVALID_REQUEST, f"{stock.reserved} units of {stock.sku} are reserved: there cannot be fewer"
        )
    received = stock.received + request.on_hand - stock.on_hand
    stock = replace(stock, on_hand=request.on_hand, received=received)
    return Decision(StockSet(level=_view(replace(stock, version=stock.version + 1))), [stock])


def _list_expired(connection: Connection, question: ListOpen) -> ExpiredReservations:
    columns = Reservation.table.c
    expired = (columns.state == ReservationState.HELD) & (columns.lease_until < datetime.now(UTC))
    ids = select(columns.transaction_id).where(expired & (columns.transaction_id > question.after)).distinct()
    ids = ids.order_by(columns.transaction_id).limit(question.limit)
    found = connection.execute(select(Reservation.table).where(columns.transaction_id.in_(ids)))
    by_transaction: dict[tuple[str, str], list[Any]] = defaultdict(list)
    for row in found.mappings():
        by_transaction[row["transaction_id"], row["order_id"]].append(row)
    requests, unreadable = readable(
        sorted(by_transaction.items()), lambda item: item[0][0], lambda item: _original_request(*item)
    )
    return ExpiredReservations(requests=requests, unreadable=unreadable)


def _original_request(ids: tuple[str, str], rows: Sequence[Any]) -> ReserveStock:
    lines = tuple(StockLine(sku=row["sku"], quantity=row["quantity"]) for row in rows)
    return ReserveStock(transaction_id=ids[0], order_id=ids[1], lines=lines)


def _list_stock(connection: Connection, _: ListStock) -> StockLevels:
    found = connection.execute(select(Stock.table).order_by(Stock.table.c.sku))
    return StockLevels(levels=tuple(_view(Stock(**row)) for row in found.mappings()))


def _carry(connection: Connection, transaction_ids: Sequence[str]) -> None:
    columns = Reservation.table.c
    committed = columns.transaction_id.in_(transaction_ids) & (columns.state == ReservationState.COMMITTED)
    carry(connection, CARRIED, select(columns.sku, func.sum(columns.quantity)).where(committed).group_by(columns.sku))


def _view(stock: Stock) -> StockLevel:
    return StockLevel(sku=stock.sku, on_hand=stock.on_hand, reserved=stock.reserved, version=stock.version)


INVENTORY = ServiceDefinition(
    "inventory",
    metadata,
    Fence,
    [reserve, release, commit, set_stock],
    [
        Query(inventory.list_stock, _list_stock),
        lists_open(inventory.list_open, Reservation, ReservationState.HELD),
        Query(inventory.list_expired, _list_expired),
    ],
    holds={Reservation: frozenset({ReservationState.HELD})},
    leaves=Leaves(
        Reservation,
        frozenset({ReservationState.COMMITTED}),
        frozenset({ReservationState.RELEASED, ReservationState.RETURNED}),
        joined_later=False,
    ),
    carry=_carry,
)
