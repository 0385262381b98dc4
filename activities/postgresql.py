"""A service's database on a PostgreSQL server, behind a network that may drop packets without an error.

A half-open connection returns neither an answer nor an error. Every wait for one is therefore bounded, here and at the
server, and after a transaction that got no answer all connections are closed without waiting for the server.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakSet

from sqlalchemy import URL, Connection, Engine, event, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

Outcome = TypeVar("Outcome")

POOL_SIZE = 10
"""Connections of one service. Each serves short transactions; ten saturate two cores."""
CONNECT_TIMEOUT_S = 3
"""Time to open a connection. It is less than a transaction's time, so that the error names the connection."""
RESTART_S = 2
"""Time in which a server that takes no connections is asked again. The four attempts of a step would be over within
two seconds otherwise, and so outlast a restart. A call that waits for the one before it has 4 s of its 5 s."""
_RESTART_PAUSE_S = 0.2
TRANSACTION_TIMEOUT_S = 4
"""Time of a transaction, from the wait for a connection to the answer to COMMIT. The shortest attempt has 5 s."""
MIGRATION_TIMEOUT_S = 600
"""Time of a migration: to build an index on a large table, or to wait for a worker that builds it, takes minutes."""
READ_TIMEOUT_S = 60
"""Time of one statement of the audit, which reads whole tables."""
_LOCK_TIMEOUT_MS = 3_000
"""Less than a transaction's time: a locked row is then an error of the server, and the connections stay open."""
_ABANDONED_AFTER_MS = TRANSACTION_TIMEOUT_S * 1_000
"""Time after which the server ends a statement or an idle transaction. Its client has given up by then, and the locks
of a half-open connection must be free for the next attempt."""


class NoAnswer(OSError):
    """The server did not answer in time, or the connection was closed meanwhile."""


class PostgresqlDatabase:
    def __init__(self, url: URL) -> None:
        # All reads of a transaction see one snapshot: a fence row and the rows that it guards must be of one instant.
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
        return None  # an operator creates a database on a server

    async def _run(self, engine: AsyncEngine, work: Callable[[Connection], Outcome]) -> Outcome:
        loop = asyncio.get_running_loop()
        given_up_at, connected = loop.time() + RESTART_S, False
        while True:
            try:
                async with engine.begin() as connection:
                    connected = True
                    return await connection.run_sync(work)
            except (OSError, DBAPIError) as error:
                if connected or not _takes_no_connections(error) or loop.time() > given_up_at:
                    raise
            await asyncio.sleep(_RESTART_PAUSE_S)

    async def _within(self, seconds: float, steps: Coroutine[Any, Any, Outcome]) -> Outcome:
        """Run `steps`, or raise `NoAnswer` after `seconds` without waiting for the cancelled steps to end."""
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
            task.exception()  # marks it as retrieved: no caller waits for a task that was given up

    def _give_up(self) -> None:
        """Close every connection and cancel every wait for one: they all lead to the server that does not answer."""
        self._connections.abort()
        for waiting in self._under_way:
            waiting.cancel()

    async def dispose(self) -> None:
        self._give_up()
        await self._engine.dispose()


def _takes_no_connections(error: OSError | DBAPIError) -> bool:
    """Whether the server, or what is in front of it, is not there for the moment, as while it starts again."""
    sqlstate = str(getattr(getattr(error, "orig", None), "sqlstate", None) or "")
    return isinstance(error, ConnectionError | FileNotFoundError) or sqlstate.startswith(("08", "57P03"))


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
                connections.abort()  # otherwise its ROLLBACK would wait as long again
                raise
    except TimeoutError as error:
        raise NoAnswer("no answer in time") from error
    finally:
        await engine.dispose()


class _Connections:
    """The open connections of an engine, including those that are idle in its pool."""

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
        # Statements set them, because a connection pooler would refuse them as parameters of the connection.
        cursor = connection.cursor()
        cursor.execute("SELECT " + ", ".join(f"set_config('{name}', '{ms}', false)" for name, ms in settings.items()))
        cursor.close()
        connection.commit()

    def abort(self) -> None:
        """Close all connections without a message to the server: an orderly close would wait for its answer."""
        for connection in list(self._open):
            connection.terminate()
