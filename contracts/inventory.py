"""The operations of the inventory service: reserve units of stock, commit the reservation, release it."""

from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, StrictInt, field_validator, model_validator

from contracts.message import Expired, Id, Lease, ListOpen, Message, OpenTransactions, Quantity, Reply, Request, Sku
from temporal_saga import Operation

QUEUE = "inventory"

UnitCount = Annotated[int, Field(strict=True, ge=0, le=10**12)]


class ReservationState(StrEnum):
    HELD = "HELD"
    COMMITTED = "COMMITTED"
    RELEASED = "RELEASED"
    RETURNED = "RETURNED"


class StockLine(Message):
    sku: Sku
    quantity: Quantity


class ReserveStock(Request):
    order_id: Id
    lines: Annotated[tuple[StockLine, ...], Field(min_length=1, max_length=100)]
    """Sorted by sku, so that the order of the lines does not make a different request."""

    @field_validator("lines")
    @classmethod
    def _by_sku(cls, lines: tuple[StockLine, ...]) -> tuple[StockLine, ...]:
        return tuple(sorted(lines, key=lambda line: line.sku))

    @model_validator(mode="after")
    def _each_sku_once(self) -> Self:
        if len({line.sku for line in self.lines}) < len(self.lines):
            raise ValueError("a sku is on two lines: add up the quantities on one")
        return self


class StockMoved(Reply):
    lines: tuple[StockLine, ...]


class SetStock(Request):
    """Set the stock of a sku, as after a stock-taking."""

    sku: Sku
    on_hand: UnitCount
    """The units on the shelf, the reserved ones included."""


class StockLevel(Message):
    """The stock on record, shown unchanged: only requests are bounded, so that a wrong row can be listed too."""

    sku: str
    on_hand: StrictInt
    reserved: StrictInt
    version: StrictInt


class StockSet(Reply):
    level: StockLevel


class ExpiredReservations(Expired):
    requests: tuple[ReserveStock, ...]


class ListStock(Message):
    pass


class StockLevels(Reply):
    levels: tuple[StockLevel, ...]


reserve = Operation("inventory.reserve", ReserveStock, StockMoved, queue=QUEUE)
release = Operation("inventory.release", ReserveStock, StockMoved, queue=QUEUE, undoes=reserve)
commit = Operation("inventory.commit", ReserveStock, StockMoved, queue=QUEUE, acts_on=reserve)
set_stock = Operation("inventory.set_stock", SetStock, StockSet, queue=QUEUE)
list_stock = Operation("inventory.list_stock", ListStock, StockLevels, queue=QUEUE)
list_open = Operation("inventory.list_open", ListOpen, OpenTransactions, queue=QUEUE)
list_expired = Operation("inventory.list_expired", ListOpen, ExpiredReservations, queue=QUEUE)
lease = Lease(list_expired, undo=release)
