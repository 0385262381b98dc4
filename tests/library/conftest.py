"""Fixtures: a hotel on SQLite, with connections and with asyncio connections, and on PostgreSQL."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from ..postgresql import ON_POSTGRESQL
from .hotel import AsyncHotel, Hotel, SyncHotel, metadata


async def _postgresql_engine(socket: Path) -> AsyncEngine:
    """The one database of these tests, emptied: a new database would cost as much as ten tests."""
    url = f"postgresql+asyncpg://postgres@/{{}}?host={socket}"
    server = create_async_engine(url.format("postgres"), isolation_level="AUTOCOMMIT")
    async with server.connect() as connection:
        if not (await connection.scalars(text("SELECT 1 FROM pg_database WHERE datname = 'hotel'"))).all():
            await connection.execute(text("CREATE DATABASE hotel"))
    await server.dispose()
    engine = create_async_engine(url.format("hotel"), pool_size=20)
    async with engine.begin() as connection:
        await connection.run_sync(metadata.drop_all)
    return engine


async def _hotel(request: pytest.FixtureRequest, folder: Path) -> Hotel:
    if request.param == "sqlite-sync":
        engine = create_engine(f"sqlite:///{folder}/hotel.db")
        _do_not_wait_for_the_disk(engine)
        return SyncHotel(engine)
    if request.param == "sqlite":
        async_engine = create_async_engine(f"sqlite+aiosqlite:///{folder}/hotel.db")
        _do_not_wait_for_the_disk(async_engine.sync_engine)
        return AsyncHotel(async_engine)
    return AsyncHotel(await _postgresql_engine(request.getfixturevalue("postgres")))


def _do_not_wait_for_the_disk(engine: Engine) -> None:
    event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous=OFF"))


@pytest.fixture(params=["sqlite", "sqlite-sync", ON_POSTGRESQL])
async def hotel(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Hotel]:
    """Each test that uses it runs three times."""
    made = await _hotel(request, tmp_path)
    await made.open()
    yield made
    await made.close()


@pytest.fixture(params=["sqlite", ON_POSTGRESQL])
async def async_hotel(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[AsyncHotel]:
    """The hotels whose requests wait for each other within one event loop."""
    made = await _hotel(request, tmp_path)
    assert isinstance(made, AsyncHotel)
    await made.open()
    yield made
    await made.close()
