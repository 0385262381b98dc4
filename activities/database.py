"""The connection of a service to its own database, on SQLite or PostgreSQL."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol, TypeVar

from sqlalchemy import Connection, Engine, make_url
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection

from activities import postgresql, sqlite
from activities.postgresql import NoAnswer, PostgresqlDatabase
from activities.records import Stale
from activities.sqlite import SqliteDatabase
from temporal_saga.outcome import first_line

Outcome = TypeVar("Outcome")

_TIMED_OUT = ("55P03", "57014", "SQLITE_BUSY")
"""PostgreSQL's codes of a lock and of a statement that took too long, and SQLite's of a locked file."""
_SERIALIZATION_FAILURE = "40001"
"""PostgreSQL's code for a row that changed after the transaction's snapshot."""
_SERVER_ERROR_CLASSES = {"08", "25", "53", "55", "57", "58"}
"""PostgreSQL's classes of codes for a server that is unreachable, full, locked, shutting down or broken."""


class NewerSchema(Exception):
    """A newer build has changed the schema: this one can neither migrate nor use the database."""


UNUSABLE = (DBAPIError, OSError, NewerSchema)
"""The errors of a database that cannot be opened."""
TRANSACTION_ERRORS = (DBAPIError, OSError, Stale)
"""The errors of a transaction that was rolled back, or whose outcome is unknown."""


class Database(Protocol):
    """The database of one service. The first transaction opens it; only a migration creates anything in it."""

    sync_engine: Engine

    async def transaction(self, work: Callable[[Connection], Outcome]) -> Outcome:
        """Do `work` in one local transaction, within less time than an activity attempt has.

        The transaction ends by itself even when the caller is cancelled: stopped between two statements, it would hold
        its locks until its connection is garbage-collected. Raises `OSError` if the database does not answer in time
        or is gone; it is then unknown whether the transaction was committed.
        """

    async def migration(self, work: Callable[[Connection], Outcome]) -> Outcome:
        """Do `work` on the schema: a transaction with more time, which also creates a database that is a file."""

    def new_file(self) -> Path | None:
        """The file that a migration would create; `None` if it exists, or if the database is on a server."""

    async def dispose(self) -> None:
        """Close all connections at once, dead ones too. The next transaction opens new ones."""


def reason_of(error: Exception) -> str:
    """The reason of an error of a database, on one line and without the statement and its data."""
    return first_line(error.orig if isinstance(error, DBAPIError) and error.orig is not None else error)


def is_busy(error: Exception) -> bool:
    """Whether a database is there and did not answer in time: a row or the file is locked, or a statement is slow."""
    of_sqlite = getattr(getattr(error, "orig", None), "sqlite_errorname", "")
    return _sqlstate(error) in _TIMED_OUT or of_sqlite in _TIMED_OUT or isinstance(error, NoAnswer)


def is_write_conflict(error: Exception) -> bool:
    """Whether another transaction wrote a row that this one has read: the version check or PostgreSQL found it."""
    return isinstance(error, Stale) or _sqlstate(error) == _SERIALIZATION_FAILURE


def is_about_the_database(error: Exception) -> bool:
    """Whether any other transaction would meet the error too: the database is locked, full or unreachable."""
    is_the_servers = _sqlstate(error)[:2] in _SERVER_ERROR_CLASSES
    return is_the_servers or isinstance(error, (OperationalError, InterfaceError, OSError, Stale))


def _sqlstate(error: Exception) -> str:
    """PostgreSQL's code of the driver's error; empty if there is none."""
    return str(getattr(getattr(error, "orig", None), "sqlstate", None) or "")


def connect(url: str) -> Database:
    """The database at `url`, which is percent-encoded like any URL: `%3F` stands for a `?` in a folder's name."""
    parsed = make_url(url)
    return SqliteDatabase(parsed) if parsed.get_backend_name() == "sqlite" else PostgresqlDatabase(parsed)


def reading(url: str) -> AbstractAsyncContextManager[AsyncConnection]:
    """A connection for reading: each transaction sees one snapshot and blocks no writer. It creates no file."""
    parsed = make_url(url)
    return sqlite.reading(parsed) if parsed.get_backend_name() == "sqlite" else postgresql.reading(parsed)
