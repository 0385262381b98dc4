"""The example of docs/library/fence.md: a hotel's activities, as a worker would run them."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from temporalio.testing import ActivityEnvironment

from examples.hotel.hotel import Booking, BookRoom, Hotel, fence, metadata, rooms, wishes
from temporal_saga import Refusal


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/hotel.db")
    async with engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
        await connection.execute(rooms.insert(), {"number": 7})
    yield engine
    await engine.dispose()


async def test_a_room_is_booked_once_and_a_refusal_is_kept_when_the_room_is_free_again(engine: AsyncEngine) -> None:
    hotel, ada, bob = Hotel(engine), BookRoom("ada"), BookRoom("bob")
    run = ActivityEnvironment().run
    assert [await run(hotel.book, ada) for _ in range(2)] == [Booking(7)] * 2
    for _ in range(2):
        with pytest.raises(Refusal, match="no room is free"):
            await run(hotel.book, bob)
        await run(hotel.cancel, ada)
    with pytest.raises(Refusal, match=r"hotel\.book was undone"):
        await run(hotel.book, ada)


async def test_a_wish_is_noted_once_and_old_records_are_forgotten(engine: AsyncEngine) -> None:
    hotel = Hotel(engine)
    for _ in range(2):
        await ActivityEnvironment().run(hotel.note_wish, "a quiet room")
    async with engine.begin() as connection:
        assert (await connection.scalars(select(wishes.c.wish))).all() == ["a quiet room"]
        old = datetime.now(UTC) - timedelta(days=91)
        await connection.execute(fence.table.update().values(written_at=old))
    await hotel.forget_old_records()
    async with engine.connect() as connection:
        assert (await connection.execute(select(fence.table))).all() == []
