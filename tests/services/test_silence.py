"""A connection to PostgreSQL that falls silent: what is sent is swallowed, and neither side hears that it is over."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, make_url, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine

from activities.database import migrate, reading
from activities.fence import Refusal
from activities.postgresql import NoAnswer
from contracts import inventory
from contracts.inventory import ListStock
from tests.chaos.proxy import Proxy

from .bench import Bench, Call, assert_goods_add_up
from .databases import PostgresDatabases
from .requests import reservation, shelf

_ATTEMPT_S = 5
"""The shortest attempt that a workflow gives an operation."""


@pytest.fixture
async def proxy(postgres: Path) -> AsyncIterator[Proxy]:
    async with Proxy(postgres / ".s.PGSQL.5432") as between:
        yield between


@pytest.fixture
async def bench(postgresql: PostgresDatabases, proxy: Proxy) -> Bench:
    url = make_url(await postgresql.migrated("inventory"))
    bench = Bench("inventory", f"postgresql+asyncpg://postgres@{proxy.address}/{url.database}")
    await bench.accept(Call(inventory.set_stock, shelf("apple", 1000)))
    return bench


async def _reserve(bench: Bench, number: int) -> object:
    """One attempt, as Temporal runs it: cancelled when its time is over."""
    async with asyncio.timeout(_ATTEMPT_S):
        return await bench.deliver(inventory.reserve, reservation(f"order/{number}", apple=1))


async def test_a_service_goes_on_over_new_connections_after_one_attempt(bench: Bench, proxy: Proxy) -> None:
    await asyncio.gather(*(bench.execute(inventory.list_stock, ListStock()) for _ in range(5)))  # some are idle
    assert proxy.swallow() >= 2
    began = time.monotonic()
    lost = await asyncio.gather(*(_reserve(bench, number) for number in range(50)), return_exceptions=True)
    assert all(isinstance(error, OSError) and not isinstance(error, TimeoutError) for error in lost), lost[0]
    again = await asyncio.gather(*(_reserve(bench, number) for number in range(50)))
    assert not any(isinstance(answer, Refusal) for answer in again)
    assert time.monotonic() - began < _ATTEMPT_S + 2
    assert (await bench.row("stock"))["reserved"] == 50
    await assert_goods_add_up(bench)
    await bench.database.dispose()


async def test_dispose_ends_although_every_connection_is_silent(bench: Bench, proxy: Proxy) -> None:
    await asyncio.gather(*(bench.execute(inventory.list_stock, ListStock()) for _ in range(5)))
    proxy.swallow()
    attempts = [asyncio.create_task(_reserve(bench, number)) for number in range(5)]
    await asyncio.sleep(0.2)
    async with asyncio.timeout(1):
        await bench.database.dispose()
    await asyncio.wait(attempts, timeout=1)
    assert all(attempt.done() and attempt.exception() for attempt in attempts)


async def test_the_locks_of_a_silent_transaction_are_free_for_later_attempts(bench: Bench, proxy: Proxy) -> None:
    direct = bench.beside()

    def fall_silent(tx: Connection) -> None:
        tx.execute(text("UPDATE stock SET version = version"))
        proxy.swallow()
        tx.execute(text("SELECT 1"))

    with pytest.raises(NoAnswer):
        await bench.database.transaction(fall_silent)
    async with asyncio.timeout(_ATTEMPT_S):
        while True:
            try:
                await direct.deliver(inventory.reserve, reservation(apple=1))
                break
            except DBAPIError:  # locked: the server has not given the silent one up yet
                await asyncio.sleep(0.1)
    assert (await direct.row("stock"))["reserved"] == 1
    await direct.database.dispose()
    await bench.database.dispose()


async def test_a_locked_row_is_the_servers_error_and_keeps_the_connections(bench: Bench, proxy: Proxy) -> None:
    holder = create_async_engine(bench.url)
    async with holder.begin() as connection:
        await connection.execute(text("UPDATE stock SET version = version"))
        with pytest.raises(DBAPIError, match="lock timeout"):
            await _reserve(bench, 1)
    assert not isinstance(await _reserve(bench, 1), Refusal)
    assert proxy.accepted == 2
    await holder.dispose()
    await bench.database.dispose()


async def test_a_server_that_accepts_and_says_nothing_is_given_up(
    postgresql: PostgresDatabases, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("activities.postgresql.CONNECT_TIMEOUT_S", 1)
    mute = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", 0)
    url = f"postgresql+asyncpg://postgres@127.0.0.1:{mute.sockets[0].getsockname()[1]}/any"
    bench = Bench("inventory", url)
    with pytest.raises(NoAnswer, match="no connection within 1 s"):
        await _reserve(bench, 1)
    with pytest.raises(NoAnswer):
        await migrate(bench.database, "inventory")
    with pytest.raises(NoAnswer):
        async with reading(url):
            pass
    async with asyncio.timeout(1):
        await bench.database.dispose()
    mute.close()


async def test_a_reader_whose_connection_falls_silent_ends(
    bench: Bench, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("activities.postgresql.READ_TIMEOUT_S", 1)
    async with asyncio.timeout(3):
        with pytest.raises(NoAnswer):
            async with reading(bench.url) as connection:
                await connection.execute(text("SELECT 1"))
                proxy.swallow()
                await connection.execute(text("SELECT 1"))
    await bench.database.dispose()
