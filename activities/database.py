"""The connection of one service to its own database, on SQLite or PostgreSQL, and the versions of its schema."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar
from weakref import WeakKeyDictionary

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, make_url, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from activities import postgresql, sqlite
from activities.postgresql import PostgresqlDatabase
from activities.sqlite import SqliteDatabase

Outcome = TypeVar("Outcome")

_MIGRATIONS = Path(__file__).parent / "migrations"
UNUSABLE = (DBAPIError, OSError, CommandError)
"""How a database that cannot be opened shows it; Alembic, for a schema that a newer build has left."""
_MIGRATING: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()
"""Alembic keeps the migration at work in module globals: one process runs one at a time, whatever the database."""


class Database(Protocol):
    """One service's database. Nothing is opened until the first transaction, and nothing is made but by a migration."""

    sync_engine: Engine

    async def transaction(self, work: Callable[[Connection], Outcome]) -> Outcome:
        """Do `work` in one local transaction, within a time that is shorter than the attempt that asks for it.

        It comes to its own end even when the caller is cancelled: cut between two statements, it would keep its locks
        for as long as its connection is in memory. Raises `OSError` if the database does not answer in time or is
        gone: whether the transaction was committed is then unknown.
        """

    async def migration(self, work: Callable[[Connection], Outcome]) -> Outcome:
        """Do `work` on the schema: as a transaction, with more time, and making the database where that is a file."""

    def new_file(self) -> Path | None:
        """The file that a migration would make; `None` if it is there, or if the database is on a server."""

    async def dispose(self) -> None:
        """Close what is open, at once, though a connection may be dead. The next transaction opens it again."""


def reason_of(error: Exception) -> str:
    """One of `UNUSABLE` in one line."""
    if isinstance(error, CommandError):
        return f"its schema is not of this build, but of a newer one ({error})"
    words = str(error.orig if isinstance(error, DBAPIError) else error) or type(error).__name__
    return words.splitlines()[0]


def connect(url: str) -> Database:
    """The database at `url`. Percent-encoding in it is that of any URL: `%3F` for a `?` in a folder's name."""
    parsed = make_url(url)
    return SqliteDatabase(parsed) if parsed.get_backend_name() == "sqlite" else PostgresqlDatabase(parsed)


def reading(url: str) -> AbstractAsyncContextManager[AsyncConnection]:
    """A connection whose transactions read one snapshot each and stay out of writers' way. It creates no file."""
    parsed = make_url(url)
    return sqlite.reading(parsed) if parsed.get_backend_name() == "sqlite" else postgresql.reading(parsed)


async def migrate(database: Database, service: str) -> None:
    """Bring the schema of `service` to the newest version. Safe when many workers start at once."""
    one_at_a_time = _MIGRATING.setdefault(asyncio.get_running_loop(), asyncio.Lock())
    async with one_at_a_time:  # whoever has waited for another's lock must see what its holder has done
        await database.migration(partial(_migrate, service=service))


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
