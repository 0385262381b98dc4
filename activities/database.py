"""The connection of one service to its own database, on SQLite or PostgreSQL, and the versions of its schema."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

Outcome = TypeVar("Outcome")
Work = Callable[[Connection], Outcome]

_MIGRATIONS = Path(__file__).parent / "migrations"
BUSY_TIMEOUT_S = 4
"""How long SQLite waits for another process's write: less than a step's timeout, so the error is the database's."""
POOL_SIZE = 10
"""Connections a PostgreSQL service holds. Each is in use for one short transaction; ten saturate two cores."""
UNUSABLE = (DBAPIError, OSError, CommandError)
"""How a database that cannot be opened shows it; Alembic, for a schema that a newer build has left."""
_MIGRATING: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()
"""Alembic keeps the migration at work in module globals: one process runs one at a time, whatever the database."""


class Database(ABC):
    """One service's database. Nothing is opened until the first transaction."""

    sync_engine: Engine

    @abstractmethod
    async def transaction(self, work: Work[Outcome], *, isolation_level: str | None = None) -> Outcome:
        """Do `work` in one local transaction.

        It comes to its own end even when whoever waits for it is cancelled: cut between two statements, it would keep
        its locks for as long as its connection is in memory.
        """

    @abstractmethod
    async def dispose(self) -> None:
        """Close what is open. The next transaction opens it again."""


class _InThread(Database):
    """SQLite has one writer at a time: here one thread with one connection, which queues fairly where many would poll
    a lock. A whole transaction costs one change of threads, where a driver for asyncio makes one for each statement."""

    def __init__(self, url: URL) -> None:
        self.sync_engine = create_engine(
            url.set(drivername="sqlite"),
            pool_size=1,
            max_overflow=0,
            connect_args={"timeout": BUSY_TIMEOUT_S, "check_same_thread": False},  # each step of it is on our thread
        )
        event.listen(self.sync_engine, "connect", _prepare_sqlite)
        event.listen(self.sync_engine, "begin", _begin_immediate)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sqlite")

    async def transaction(self, work: Work[Outcome], *, isolation_level: str | None = None) -> Outcome:  # noqa: ARG002 — SQLite is serializable
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._transaction, work)

    def _transaction(self, work: Work[Outcome]) -> Outcome:
        with self.sync_engine.begin() as connection:
            return work(connection)

    async def dispose(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, self.sync_engine.dispose)


class _OnServer(Database):
    def __init__(self, url: URL) -> None:
        # One snapshot for all reads of a transaction: a fence row and the rows it guards must be of the same instant.
        self._engine = create_async_engine(
            url, pool_size=POOL_SIZE, max_overflow=0, pool_pre_ping=True, isolation_level="REPEATABLE READ"
        )
        self.sync_engine = self._engine.sync_engine

    async def transaction(self, work: Work[Outcome], *, isolation_level: str | None = None) -> Outcome:
        return await asyncio.shield(self._transaction(work, isolation_level))

    async def _transaction(self, work: Work[Outcome], isolation_level: str | None) -> Outcome:
        engine = self._engine
        if isolation_level is not None:
            engine = engine.execution_options(isolation_level=isolation_level)
        async with engine.begin() as connection:
            return await connection.run_sync(work)

    async def dispose(self) -> None:
        await self._engine.dispose()


def reason_of(error: Exception) -> str:
    """One of `UNUSABLE` in one line."""
    if isinstance(error, CommandError):
        return f"its schema is not of this build, but of a newer one ({error})"
    return str(error.orig if isinstance(error, DBAPIError) else error).splitlines()[0]


def connect(url: str) -> Database:
    parsed = make_url(url)
    return _InThread(parsed) if parsed.get_backend_name() == "sqlite" else _OnServer(parsed)


def connect_to_read(url: str) -> AsyncEngine:
    """An engine whose transactions read one snapshot each and stay out of writers' way. It creates no file."""
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return create_async_engine(parsed, pool_pre_ping=True, isolation_level="REPEATABLE READ")
    parsed = parsed.set(drivername="sqlite+aiosqlite", database=f"file:{parsed.database}")
    parsed = parsed.update_query_dict({"mode": "ro", "uri": "true"})
    engine = create_async_engine(parsed, connect_args={"timeout": BUSY_TIMEOUT_S})
    event.listen(engine.sync_engine, "connect", _let_sqlalchemy_begin)
    event.listen(engine.sync_engine, "begin", _begin)
    return engine


def _let_sqlalchemy_begin(connection: Any, _: object) -> None:
    connection.isolation_level = None  # else the driver says BEGIN, and only before the first write


def _prepare_sqlite(connection: Any, _: object) -> None:
    _let_sqlalchemy_begin(connection, None)
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    # FULL: a committed hold survives a power cut, as the workflow history that says so does.
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")


def _begin_immediate(connection: Connection) -> None:
    # A transaction that reads first and writes later would fail when another has written between; this one waits.
    connection.exec_driver_sql("BEGIN IMMEDIATE")


async def migrate(database: Database, service: str) -> None:
    """Bring the schema of `service` to the newest version. Safe when many workers start at once."""
    url = database.sync_engine.url
    if url.get_backend_name() == "sqlite" and url.database:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    one_at_a_time = _MIGRATING.setdefault(asyncio.get_running_loop(), asyncio.Lock())
    async with one_at_a_time:  # whoever has waited for another's lock must see what its holder has done
        await database.transaction(partial(_migrate, service=service), isolation_level="READ COMMITTED")


def _migrate(connection: Connection, service: str) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('schema'))"))
    command.upgrade(migrations_of(service, connection), "head")


def migrations_of(service: str, connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.set_main_option("version_locations", str(_MIGRATIONS / service))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config
