"""A service's database as a SQLite file, with one writing thread and a check that the file is still there."""

import asyncio
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from sqlalchemy import URL, Connection, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

Outcome = TypeVar("Outcome")

BUSY_TIMEOUT_S = 4
"""Time SQLite waits for a write of another process. It is less than a step's timeout, so that the error is SQLite's."""

_WAL_PAUSE_S = 0.02
"""Pause between attempts to switch a new file to write-ahead logging: about the time that one switch takes."""


class FileGone(OSError):
    """The file was deleted or replaced while it was open; a further write would be lost."""


class SqliteDatabase:
    """A SQLite file with one writing thread and one connection, because SQLite allows one writer at a time.

    The thread's queue is fair, where several connections would poll a lock. A transaction costs one thread switch; an
    asyncio driver makes one for each statement.
    """

    def __init__(self, url: URL) -> None:
        self._file = _file_of(url)
        self._opened: os.stat_result | None = None
        self.sync_engine = create_engine(
            _at(url, mode="rw").set(drivername="sqlite"),
            connect_args={"timeout": BUSY_TIMEOUT_S, "check_same_thread": False},  # every use is on `_thread`
        )
        event.listen(self.sync_engine, "connect", self._prepare)
        self._connection: Connection | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sqlite")

    async def transaction(self, work: Callable[[Connection], Outcome]) -> Outcome:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._transaction, work)

    async def migration(self, work: Callable[[Connection], Outcome]) -> Outcome:
        if (new := self.new_file()) is not None:
            new.parent.mkdir(parents=True, exist_ok=True)
            new.touch()
        return await self.transaction(work)

    def new_file(self) -> Path | None:
        if self._file is None or (self._file.exists() and self._file.stat().st_size > 0):
            return None
        return self._file

    def _transaction(self, work: Callable[[Connection], Outcome]) -> Outcome:
        self._require_its_file()
        connection = self._connection = self._connection or self.sync_engine.connect()
        with connection.begin():
            # IMMEDIATE takes the write lock at once and waits for it. A lock taken between a read and a write would
            # fail. A listener for SQLAlchemy's "begin" could send it too, but would make every statement slower.
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            try:
                return work(connection)
            except sqlite3.Error as error:  # of a statement that the driver got without SQLAlchemy
                raise DBAPIError.instance(None, None, error, sqlite3.Error) from error

    def _require_its_file(self) -> None:
        """Raise `FileGone` if the path no longer leads to the open file: SQLite would go on writing into it."""
        if self._file is None or self._opened is None:
            return
        try:
            if os.path.samestat(self._file.stat(), self._opened):
                return
        except FileNotFoundError:
            pass
        raise FileGone(f"{self._file} was deleted or replaced while it was open; stop the worker and restore it")

    def _prepare(self, connection: Any, _: object) -> None:
        if self._file is not None:
            self._opened = self._file.stat()
        _let_sqlalchemy_begin(connection, None)
        cursor = connection.cursor()
        _switch_to_wal(cursor)
        # FULL: a committed hold must survive a power cut, as the workflow history that records it does.
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.close()

    async def dispose(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, self._dispose)

    def _dispose(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self.sync_engine.dispose()
        self._opened = None


@asynccontextmanager
async def reading(url: URL) -> AsyncIterator[AsyncConnection]:
    engine = create_async_engine(
        _at(url, mode="ro").set(drivername="sqlite+aiosqlite"), connect_args={"timeout": BUSY_TIMEOUT_S}
    )
    event.listen(engine.sync_engine, "do_connect", _require_that_it_opens)
    event.listen(engine.sync_engine, "connect", _let_sqlalchemy_begin)
    event.listen(engine.sync_engine, "begin", _begin)
    try:
        async with engine.connect() as connection:
            yield connection
    finally:
        await engine.dispose()


def _file_of(url: URL) -> Path | None:
    """The path of the file; `None` for a URL with a URI of SQLite's own (`uri=true`), which is used unchanged."""
    return None if "uri" in url.query or url.database is None else Path(url.database)


def _at(url: URL, *, mode: str) -> URL:
    """`url` with a `mode` in which SQLite creates no file; the path is quoted, so any character may be in it."""
    if (file := _file_of(url)) is not None:
        return url.set(database=f"file:{quote(str(file))}").update_query_dict({"mode": mode, "uri": "true"})
    return url.update_query_dict({"mode": mode}) if mode == "ro" else url


def _require_that_it_opens(_dialect: object, _record: object, arguments: list[Any], options: dict[str, Any]) -> None:
    """Raise the error of a file that does not open here: aiosqlite would leave a thread behind that fails later."""
    sqlite3.connect(arguments[0], uri=options["uri"]).close()


def _switch_to_wal(cursor: sqlite3.Cursor) -> None:
    """Wait for the write lock by trying again: for a change of the journal mode SQLite itself often does not wait."""
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorname != "SQLITE_BUSY" or time.monotonic() > deadline:
                raise
        else:
            return
        time.sleep(_WAL_PAUSE_S)


def _let_sqlalchemy_begin(connection: Any, _: object) -> None:
    connection.isolation_level = None  # otherwise the driver sends BEGIN, and only before the first write


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")
