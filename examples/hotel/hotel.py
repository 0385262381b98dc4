"""A hotel that takes part in sagas: each of its activities passes the fence in the hotel's own database."""

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import Column, Integer, MetaData, String, Table, select
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import activity

from temporal_saga import Operation, Refusal
from temporal_saga.fence.sql import Fence, Key, begin, create_table

metadata = MetaData()
fence = Fence(create_table(metadata))
rooms = Table("rooms", metadata, Column("number", Integer, primary_key=True), Column("taken_by", String(255)))
wishes = Table("wishes", metadata, Column("id", Integer, primary_key=True), Column("wish", String(255)))


@dataclass(frozen=True)
class BookRoom:
    transaction_id: str


@dataclass(frozen=True)
class Booking:
    room: int


book = Operation("hotel.book", BookRoom, Booking)
cancel = Operation("hotel.cancel", BookRoom, type(None), undoes=book)


class Hotel:
    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    @activity.defn(name=book.name)
    async def book(self, request: BookRoom) -> Booking:
        async with begin(self._engine) as connection, fence.once(connection, book, request) as once:
            if once.acts:
                free = select(rooms.c.number).where(rooms.c.taken_by.is_(None)).limit(1).with_for_update()
                room = (await connection.scalars(free)).one_or_none()
                if room is None:
                    raise Refusal("SOLD_OUT", "no room is free")
                taken = rooms.update().where(rooms.c.number == room).values(taken_by=request.transaction_id)
                await connection.execute(taken)
                once.reply = Booking(room)
        return once.reply

    @activity.defn(name=cancel.name)
    async def cancel(self, request: BookRoom) -> None:
        async with begin(self._engine) as connection, fence.once(connection, cancel, request) as once:
            if once.acts:
                taken = rooms.c.taken_by == request.transaction_id
                await connection.execute(rooms.update().where(taken).values(taken_by=None))

    @activity.defn
    async def note_wish(self, wish: str) -> None:
        key = Key(activity.info().workflow_id, "note_wish")
        async with begin(self._engine) as connection, fence.once(connection, key, wish) as once:
            if once.acts:
                await connection.execute(wishes.insert(), {"wish": wish})

    async def forget_old_records(self) -> None:
        while True:
            async with self._engine.begin() as connection:
                if await fence.forget(connection, older_than=timedelta(days=90)) == 0:
                    return
