"""A service's database on a PostgreSQL server, behind a network that may swallow what is sent.

A half-open connection says nothing: no answer, no error. So everything that waits for one has a bound of its own, here
and at the server, and the connections of a database that kept a transaction waiting are closed without a farewell.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakSet

from sqlalchemy import URL, Connection, Engine, event, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

Outcome = TypeVar("Outcome")

POOL_SIZE = 10
"""Connections a service holds. Each is in use for one short transaction; ten saturate two cores."""
CONNECT_TIMEOUT_S = 3
"""From the first packet to a session. Less than a transaction's time, so that the error says what was waited for."""
TRANSACTION_TIMEOUT_S = 4
"""From the wait for a connection to the answer to COMMIT. The shortest attempt that waits for it has 5 s."""
MIGRATION_TIMEOUT_S = 600
"""An index on a large table takes minutes, and so does the wait for another worker that builds it."""
READ_TIMEOUT_S = 60
"""One statement of the audit, which reads whole tables. Between two of one database it reads all the others."""
_LOCK_TIMEOUT_MS = 3_000
"""Less than a transaction's time: a row that is locked is the server's error, and no reason to close a connection."""
_ABANDONED_AFTER_MS = TRANSACTION_TIMEOUT_S * 1_000
"""The server gives up a statement, and a session that is idle in a transaction, when nobody can wait for it any more:
the locks of a half-open connection are free for the next attempt."""


class NoAnswer(OSError):
    """The server did not answer in time, or the connection was closed meanwhile."""


class PostgresqlDatabase:
    def __init__(self, url: URL) -> None:
        # One snapshot for all reads of a transaction: a fence row and the rows it guards must be of the same instant.
        self._engine = create_async_engine(
            url,
            pool_size=POOL_SIZE,
            max_overflow=0,
            pool_pre_ping=True,
            isolation_level="REPEATABLE READ",
            connect_args={"timeout": CONNECT_TIMEOUT_S},
        )
        self.sync_engine = self._engine.sync_engine
        self._connections = _Connections(self.sync_engine, _ABANDONED_AFTER_MS, _ABANDONED_AFTER_MS)
        self._under_way: set[asyncio.Task[Any]] = set()

    async def transaction(self, work: Callable[[Connection], Outcome]) -> Outcome:
        return await asyncio.shield(self._within(TRANSACTION_TIMEOUT_S, self._run(self._engine, work)))

    async def migration(self, work: Callable[[Connection], Outcome]) -> Outcome:
        def with_more_time(connection: Connection) -> Outcome:
            for bound in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
                connection.execute(text(f"SET LOCAL {bound} = '{MIGRATION_TIMEOUT_S}s'"))
            return work(connection)

        engine = self._engine.execution_options(isolation_level="READ COMMITTED")
        return await asyncio.shield(self._within(MIGRATION_TIMEOUT_S, self._run(engine, with_more_time)))

    def new_file(self) -> Path | None:
        return None  # who makes a database on a server does so by hand

    async def _run(self, engine: AsyncEngine, work: Callable[[Connection], Outcome]) -> Outcome:
        async with engine.begin() as connection:
            return await connection.run_sync(work)

    async def _within(self, seconds: float, steps: Coroutine[Any, Any, Outcome]) -> Outcome:
        """Take `steps`, or raise `NoAnswer` after `seconds`. Raised at the bound: what is cut ends on its own."""
        running = asyncio.create_task(steps)
        self._under_way.add(running)
        running.add_done_callback(self._ended)
        began = asyncio.get_running_loop().time()
        await asyncio.wait([running], timeout=seconds)
        if not running.done():
            self._give_up()
        elif not running.cancelled():
            try:
                return running.result()
            except TimeoutError as error:
                raise NoAnswer(f"no connection within {CONNECT_TIMEOUT_S} s") from error
        waited = asyncio.get_running_loop().time() - began
        raise NoAnswer(f"no answer within {waited:.0f} s; its connections are closed, the next attempt opens others")

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            task.exception()  # nobody else reads that of a task that was cut

    def _give_up(self) -> None:
        """Close every connection and cut what waits for one: they all lead to the server that does not answer."""
        self._connections.abort()
        for waiting in self._under_way:
            waiting.cancel()

    async def dispose(self) -> None:
        self._give_up()
        await self._engine.dispose()


@asynccontextmanager
async def reading(url: URL) -> AsyncIterator[AsyncConnection]:
    engine = create_async_engine(
        url,
        isolation_level="REPEATABLE READ",
        connect_args={"timeout": CONNECT_TIMEOUT_S, "command_timeout": READ_TIMEOUT_S},
    )
    connections = _Connections(engine.sync_engine, READ_TIMEOUT_S * 1_000, READ_TIMEOUT_S * 10_000)
    try:
        async with engine.connect() as connection:
            try:
                yield connection
            except TimeoutError:
                connections.abort()  # or else its ROLLBACK would wait as long again
                raise
    except TimeoutError as error:
        raise NoAnswer("no answer in time") from error
    finally:
        await engine.dispose()


class _Connections:
    """The open connections of an engine, also those that are idle in its pool."""

    def __init__(self, engine: Engine, statement_ms: int, idle_ms: int) -> None:
        self._open: WeakSet[Any] = WeakSet()
        self._statement_ms = statement_ms
        self._idle_ms = idle_ms
        event.listen(engine, "connect", self._prepare)

    def _prepare(self, connection: Any, _: object) -> None:
        self._open.add(connection.driver_connection)
        settings = {
            "statement_timeout": self._statement_ms,
            "lock_timeout": _LOCK_TIMEOUT_MS,
            "idle_in_transaction_session_timeout": self._idle_ms,
        }
        # As statements, not as parameters of the connection, which a pooler between would refuse.
        cursor = connection.cursor()
        cursor.execute("SELECT " + ", ".join(f"set_config('{name}', '{ms}', false)" for name, ms in settings.items()))
        cursor.close()
        connection.commit()

    def abort(self) -> None:
        """Close all of them without a word to the server, for whose answer a polite end would wait."""
        for connection in list(self._open):
            connection.terminate()
