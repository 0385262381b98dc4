"""A hotel as others would write it: four operations over its own database, each behind the fence.

A booking takes a room, a cancellation gives it back, a check-in acts on the booking. `deeds` is append-only and has no
key, so that a test sees an effect that came twice.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeAlias, TypeVar

from sqlalchemy import Column, Connection, Engine, Integer, MetaData, String, Table, func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from temporal_saga import Operation, Refusal
from temporal_saga.fence.sql import Fence, Key, begin, create_table

T = TypeVar("T")


@dataclass(frozen=True)
class BookRoom:
    transaction_id: str
    night: datetime
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Stay:
    transaction_id: str
    room: int


@dataclass(frozen=True)
class Booking:
    room: int
    night: datetime


@dataclass(frozen=True)
class Cancelled:
    rooms: int


book = Operation("hotel.book", BookRoom, Booking, queue="hotel")
cancel = Operation("hotel.cancel", BookRoom, Cancelled, queue="hotel", undoes=book)
check_in = Operation("hotel.check_in", BookRoom, Booking, queue="hotel", acts_on=book)
clean = Operation("hotel.clean", Stay, Cancelled, queue="hotel", acts_on=book)

Call: TypeAlias = Operation[Any, Any] | Key
Work: TypeAlias = Callable[[Connection], Any]

metadata = MetaData()
fence = Fence(create_table(metadata))
rooms = Table(
    "rooms", metadata, Column("number", Integer, primary_key=True), Column("is_free", Integer, nullable=False)
)
deeds = Table("deeds", metadata, Column("id", Integer, primary_key=True), Column("deed", String(40), nullable=False))

_take_a_room = rooms.update().where(rooms.c.is_free == 1).values(is_free=0)


def work_of(operation: Call, request: Any) -> Work:
    """The business of one of the four operations; it writes before it refuses."""

    def work(tx: Connection) -> Any:
        note(tx, f"{getattr(operation, 'name', operation)} {request.transaction_id}")
        if operation is cancel:
            return Cancelled(tx.execute(rooms.update().values(is_free=1)).rowcount)
        if operation is clean:
            return Cancelled(0)
        if operation is book and tx.execute(_take_a_room).rowcount == 0:
            raise Refusal("SOLD_OUT", f"no room on {request.night:%d %B}")
        return Booking(7, request.night)

    return work


def note(tx: Connection, deed: str) -> None:
    tx.execute(deeds.insert(), {"deed": deed})


class Hotel(ABC):
    """The hotel on one kind of engine: it has room 7, which is free."""

    @abstractmethod
    async def deliver(self, call: Call, request: Any, work: Work | None = None, nothing: Any = Cancelled(0)) -> Any:
        """Deliver one request in a transaction of its own, as an activity does."""

    @abstractmethod
    async def run(self, work: Callable[[Connection], T]) -> T:
        """Do something in a transaction beside the fence."""

    @abstractmethod
    async def close(self) -> None: ...

    async def open(self) -> None:
        await self.run(metadata.create_all)
        await self.run(lambda tx: tx.execute(rooms.insert(), {"number": 7, "is_free": 1}))

    async def deeds(self) -> list[str]:
        return await self.run(lambda tx: list(tx.scalars(select(deeds.c.deed).order_by(deeds.c.id))))

    async def free_rooms(self) -> int:
        return await self.run(lambda tx: tx.scalars(select(func.sum(rooms.c.is_free))).one())

    async def state(self, transaction_id: str, step: str = book.step) -> str | None:
        column = fence.table.c
        kept = select(column.state).where(column.transaction_id == transaction_id, column.step == step)
        return await self.run(lambda tx: tx.scalars(kept).one_or_none())


class AsyncHotel(Hotel):
    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine

    async def deliver(self, call: Call, request: Any, work: Work | None = None, nothing: Any = Cancelled(0)) -> Any:
        performs = work or work_of(call, request)
        async with begin(self.engine) as connection, fence.once(connection, call, request, nothing=nothing) as once:
            if once.acts:
                once.reply = await connection.run_sync(performs)
        return once.reply

    async def run(self, work: Callable[[Connection], T]) -> T:
        async with self.engine.begin() as connection:
            return await connection.run_sync(work)

    async def close(self) -> None:
        await self.engine.dispose()


class SyncHotel(Hotel):
    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    async def deliver(self, call: Call, request: Any, work: Work | None = None, nothing: Any = Cancelled(0)) -> Any:
        performs = work or work_of(call, request)
        with begin(self.engine) as connection, fence.once(connection, call, request, nothing=nothing) as once:
            if once.acts:
                once.reply = performs(connection)
        return once.reply

    async def run(self, work: Callable[[Connection], T]) -> T:
        with self.engine.begin() as connection:
            return work(connection)

    async def close(self) -> None:
        self.engine.dispose()
