"""The connection of one service to its own database, on SQLite or PostgreSQL, and the versions of its schema."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, event, make_url, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

_MIGRATIONS = Path(__file__).parent / "migrations"
BUSY_TIMEOUT_S = 4
"""How long SQLite waits for another process's write: less than a step's timeout, so the error is the database's."""
POOL_SIZE = 10
"""Connections a PostgreSQL service holds. Each is in use for one short transaction; ten saturate two cores."""
_MIGRATING: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()
"""Alembic keeps the migration at work in module globals: one process runs one at a time, whatever the database."""


def connect(url: str, *, read_only: bool = False) -> AsyncEngine:
    """An engine for one service's database. Nothing is opened until the first use.

    `read_only` gives its transactions one snapshot to read, keeps them out of writers' way, and creates no file.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        # One snapshot for all reads of a transaction: a fence row and the rows it guards must be of the same instant.
        return create_async_engine(
            parsed, pool_size=POOL_SIZE, max_overflow=0, pool_pre_ping=True, isolation_level="REPEATABLE READ"
        )
    if read_only:
        parsed = parsed.set(database=f"file:{parsed.database}").update_query_dict({"mode": "ro", "uri": "true"})
        engine = create_async_engine(parsed, connect_args={"timeout": BUSY_TIMEOUT_S})
        event.listen(engine.sync_engine, "connect", _let_sqlalchemy_begin)
        event.listen(engine.sync_engine, "begin", _begin)
        return engine
    # SQLite has one writer at a time: one connection a process queues fairly, where many would poll a lock.
    engine = create_async_engine(parsed, pool_size=1, max_overflow=0, connect_args={"timeout": BUSY_TIMEOUT_S})
    event.listen(engine.sync_engine, "connect", _prepare_sqlite)
    event.listen(engine.sync_engine, "begin", _begin_immediate)
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


async def migrate(engine: AsyncEngine, service: str) -> None:
    """Bring the schema of `service` to the newest version. Safe when many workers start at once."""
    url = engine.url
    if url.get_backend_name() == "sqlite" and url.database:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    one_at_a_time = _MIGRATING.setdefault(asyncio.get_running_loop(), asyncio.Lock())
    on_server = url.get_backend_name() == "postgresql"
    if on_server:  # whoever has waited for the lock must see what its holder has done
        engine = engine.execution_options(isolation_level="READ COMMITTED")
    async with one_at_a_time, engine.begin() as connection:
        if on_server:
            await connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('schema'))"))
        await connection.run_sync(_upgrade, service)


def _upgrade(connection: Connection, service: str) -> None:
    command.upgrade(migrations_of(service, connection), "head")


def migrations_of(service: str, connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.set_main_option("version_locations", str(_MIGRATIONS / service))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config
