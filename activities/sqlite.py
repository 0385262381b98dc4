"""A service's database as a SQLite file: one writing thread, and a file that is noticed when it goes."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from sqlalchemy import URL, Connection, create_engine, event
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

Outcome = TypeVar("Outcome")

BUSY_TIMEOUT_S = 4
"""How long SQLite waits for another process's write: less than a step's timeout, so the error is the database's."""


class FileGone(OSError):
    """The file was deleted or replaced while it was open: what is written now would be in no file at all."""


class SqliteDatabase:
    """SQLite has one writer at a time: here one thread with one connection, which queues fairly where many would poll
    a lock. A whole transaction costs one change of threads, where a driver for asyncio makes one for each statement."""

    def __init__(self, url: URL) -> None:
        self._file = _file_of(url)
        self._opened: os.stat_result | None = None
        self.sync_engine = create_engine(
            _at(url, mode="rw").set(drivername="sqlite"),
            pool_size=1,
            max_overflow=0,
            connect_args={"timeout": BUSY_TIMEOUT_S, "check_same_thread": False},  # each step of it is on our thread
        )
        event.listen(self.sync_engine, "connect", self._prepare)
        event.listen(self.sync_engine, "begin", _begin_immediate)
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
        with self.sync_engine.begin() as connection:
            return work(connection)

    def _require_its_file(self) -> None:
        """SQLite itself goes on writing into a file that has no name any more."""
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
        cursor.execute("PRAGMA journal_mode=WAL")
        # FULL: a committed hold survives a power cut, as the workflow history that says so does.
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.close()

    async def dispose(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, self._dispose)

    def _dispose(self) -> None:
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
    """The file's path; `None` for a URL that holds a URI of SQLite's own (`uri=true`), whose parts are its author's."""
    return None if "uri" in url.query or url.database is None else Path(url.database)


def _at(url: URL, *, mode: str) -> URL:
    """`url` opened in `mode`, in which SQLite makes no file. Whatever a folder's name holds, it is one path."""
    if (file := _file_of(url)) is not None:
        return url.set(database=f"file:{quote(str(file))}").update_query_dict({"mode": mode, "uri": "true"})
    return url.update_query_dict({"mode": mode}) if mode == "ro" else url


def _require_that_it_opens(_dialect: object, _record: object, arguments: list[Any], options: dict[str, Any]) -> None:
    """aiosqlite leaves the thread of a connection that does not open behind, to fail when the event loop is gone."""
    sqlite3.connect(arguments[0], uri=options["uri"]).close()


def _let_sqlalchemy_begin(connection: Any, _: object) -> None:
    connection.isolation_level = None  # else the driver says BEGIN, and only before the first write


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")


def _begin_immediate(connection: Connection) -> None:
    # A transaction that reads first and writes later would fail when another has written between; this one waits.
    connection.exec_driver_sql("BEGIN IMMEDIATE")
