"""A connection to PostgreSQL that falls silent: packets are dropped, and neither side gets an error.

The bounds are shorter than in production, because each test waits for one of them.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, make_url, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine

from activities import postgresql, sqlite
from activities.database import is_busy, reading
from activities.fence import RefusedDecision
from activities.postgresql import NoAnswer
from activities.schema import migrate
from contracts import inventory
from contracts.inventory import ListStock
from tests.chaos.proxy import Proxy

from ..eventually import eventually_async
from .databases import PostgresDatabases
from .requests import reservation, stock_level
from .service_harness import Call, ServiceHarness, assert_goods_add_up

_ATTEMPT_S = 5
"""The shortest attempt that a workflow gives an operation."""


def test_every_bound_ends_before_the_wait_around_it() -> None:
    lock_s, abandoned_s = postgresql._LOCK_TIMEOUT_MS / 1000, postgresql._ABANDONED_AFTER_MS / 1000
    assert (
        max(lock_s, postgresql.CONNECT_TIMEOUT_S, postgresql.RESTART_S)
        < postgresql.TRANSACTION_TIMEOUT_S
        <= abandoned_s
        < _ATTEMPT_S
    )
    assert sqlite.BUSY_TIMEOUT_S < _ATTEMPT_S


@pytest.fixture
def short_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = {"TRANSACTION_TIMEOUT_S": 2, "RESTART_S": 2, "_ABANDONED_AFTER_MS": 2, "_LOCK_TIMEOUT_MS": 4}
    for name, part in parts.items():
        monkeypatch.setattr(postgresql, name, getattr(postgresql, name) // part)


@pytest.fixture
async def proxy(postgres: Path) -> AsyncIterator[Proxy]:
    async with Proxy(postgres / ".s.PGSQL.5432") as between:
        yield between


@pytest.fixture
async def harness(postgresql_databases: PostgresDatabases, proxy: Proxy, short_bounds: None) -> ServiceHarness:
    url = make_url(await postgresql_databases.migrated("inventory"))
    harness = ServiceHarness("inventory", f"postgresql+asyncpg://postgres@{proxy.address}/{url.database}")
    await harness.accept(Call(inventory.set_stock, stock_level("apple", 1000)))
    return harness


async def _reserve(harness: ServiceHarness, number: int) -> object:
    """Run one attempt as Temporal does, which cancels it at its timeout."""
    async with asyncio.timeout(_ATTEMPT_S):
        return await harness.deliver(inventory.reserve, reservation(f"order/{number}", apple=1))


async def test_a_service_goes_on_over_new_connections_after_one_attempt(harness: ServiceHarness, proxy: Proxy) -> None:
    await asyncio.gather(*(harness.execute(inventory.list_stock, ListStock()) for _ in range(5)))  # some are idle
    assert proxy.swallow() >= 2
    began = time.monotonic()
    lost = await asyncio.gather(*(_reserve(harness, number) for number in range(50)), return_exceptions=True)
    assert all(isinstance(error, OSError) and not isinstance(error, TimeoutError) for error in lost), lost[0]
    again = await asyncio.gather(*(_reserve(harness, number) for number in range(50)))
    assert not any(isinstance(answer, RefusedDecision) for answer in again)
    assert time.monotonic() - began < _ATTEMPT_S + 2
    assert (await harness.row("stock"))["reserved"] == 50
    await assert_goods_add_up(harness)


async def test_a_call_that_waits_for_a_connection_of_the_pool_is_one_without_an_answer(harness: ServiceHarness) -> None:
    calls = (
        harness.database.transaction(lambda tx: tx.execute(text("SELECT pg_sleep(9)")))
        for _ in range(postgresql.POOL_SIZE + 1)
    )
    ended = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(error) for error in ended} == {NoAnswer}


async def test_a_server_that_starts_again_is_waited_for(harness: ServiceHarness, proxy: Proxy) -> None:
    await harness.database.dispose()
    proxy.refusing, before = True, proxy.accepted
    waiting = asyncio.create_task(_reserve(harness, 1))

    async def refused() -> int:
        return proxy.accepted - before

    await eventually_async(refused, "a connection is refused", pause_s=0.01)
    proxy.refusing = False
    assert not isinstance(await waiting, RefusedDecision)


async def test_dispose_ends_although_every_connection_is_silent(harness: ServiceHarness, proxy: Proxy) -> None:
    await asyncio.gather(*(harness.execute(inventory.list_stock, ListStock()) for _ in range(5)))
    proxy.swallow()
    attempts = [asyncio.create_task(_reserve(harness, number)) for number in range(5)]
    await asyncio.sleep(0.2)
    async with asyncio.timeout(1):
        await harness.database.dispose()
    await asyncio.wait(attempts, timeout=1)
    assert all(attempt.done() and attempt.exception() for attempt in attempts)


async def test_the_locks_of_a_silent_transaction_are_free_for_later_attempts(
    harness: ServiceHarness, proxy: Proxy
) -> None:
    direct = harness.sibling()

    def fall_silent(tx: Connection) -> None:
        tx.execute(text("UPDATE stock SET version = version"))
        proxy.swallow()
        tx.execute(text("SELECT 1"))

    with pytest.raises(NoAnswer):
        await harness.database.transaction(fall_silent)

    async def is_reserved() -> bool:
        try:
            await direct.deliver(inventory.reserve, reservation(apple=1))
        except DBAPIError:  # locked until the server ends the silent transaction
            return False
        return True

    await eventually_async(is_reserved, "the row is free", timeout_s=_ATTEMPT_S)
    assert (await direct.row("stock"))["reserved"] == 1


async def test_a_locked_row_is_the_servers_error_and_keeps_the_connections(
    harness: ServiceHarness, proxy: Proxy
) -> None:
    holder = create_async_engine(harness.url)
    async with holder.begin() as connection:
        await connection.execute(text("UPDATE stock SET version = version"))
        with pytest.raises(DBAPIError, match="lock timeout") as locked:
            await _reserve(harness, 1)
    assert is_busy(locked.value)
    assert not isinstance(await _reserve(harness, 1), RefusedDecision)
    assert proxy.accepted == 2
    await holder.dispose()


async def test_a_server_that_accepts_and_says_nothing_is_given_up(
    postgresql_databases: PostgresDatabases, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("activities.postgresql.CONNECT_TIMEOUT_S", 0.3)
    mute = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", 0)
    url = f"postgresql+asyncpg://postgres@127.0.0.1:{mute.sockets[0].getsockname()[1]}/any"
    harness = ServiceHarness("inventory", url)
    with pytest.raises(NoAnswer, match=r"no connection within 0\.3 s"):
        await _reserve(harness, 1)
    with pytest.raises(NoAnswer):
        await migrate(harness.database, "inventory")
    with pytest.raises(NoAnswer):
        async with reading(url):
            pass
    async with asyncio.timeout(1):
        await harness.database.dispose()
    mute.close()


async def test_a_reader_whose_connection_falls_silent_ends(
    harness: ServiceHarness, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("activities.postgresql.READ_TIMEOUT_S", 0.5)
    async with asyncio.timeout(3):
        with pytest.raises(NoAnswer):
            async with reading(harness.url) as connection:
                await connection.execute(text("SELECT 1"))
                proxy.swallow()
                await connection.execute(text("SELECT 1"))
