"""The tests' databases: SQLite files and a real PostgreSQL. Each test gets its own, without rows."""

import itertools
import shutil
from abc import ABC, abstractmethod
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import asyncpg
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, make_url

from activities.catalogue import SERVICES
from activities.database import connect
from activities.schema import migrate


class Databases(ABC):
    """The databases of one test."""

    kind: str

    @abstractmethod
    async def empty(self) -> str:
        """The URL of a new database without a schema."""

    @abstractmethod
    async def migrated(self, service: str) -> str:
        """The URL of a new database with the newest schema of `service`."""

    @abstractmethod
    async def remove(self) -> None: ...


async def _migrate_at(url: str, service: str) -> None:
    """Migrate, and compare the tables with those of the service: a test that needs one would fail in other words."""
    database = connect(url)
    await migrate(database, service)
    problems = await database.transaction(partial(schema_problems, service))
    await database.dispose()
    assert problems == [], "; ".join(problems)


def schema_problems(service: str, connection: Connection) -> list[str]:
    """Sentences on how the tables of a migrated database differ from those that the service declares."""
    context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": False})
    differences = compare_metadata(context, SERVICES[service].metadata)
    return [f"activities/migrations/{service}: {_in_words(difference)}" for difference in differences]


def _in_words(difference: Any) -> str:
    match difference:
        case ("add_table", table):
            return f"it does not make table {table.name}"
        case ("remove_table", table):
            return f"it makes table {table.name}, which the service does not declare"
        case ("add_index", index):
            return f"it does not make index {index.name}"
        case ("add_column", _, table, column):
            return f"it does not make column {column.name} of table {table}"
        case ("remove_column", _, table, column):
            return f"it makes column {column.name} of table {table}, which the service does not declare"
    return f"the schema needs this change: {difference}"


class SqliteFiles(Databases):
    kind = "sqlite"

    def __init__(self, folder: Path, templates: Path) -> None:
        self._folder = folder
        self._templates = templates
        self._numbers = itertools.count()

    async def empty(self) -> str:
        return _sqlite_url(self._folder / f"{next(self._numbers)}.db")

    async def migrated(self, service: str) -> str:
        template = self._templates / f"{service}.db"
        if not template.exists():
            migrated = await self.empty()
            await _migrate_at(migrated, service)
            shutil.move(str(make_url(migrated).database), template)
        url = await self.empty()
        shutil.copy(template, str(make_url(url).database))
        return url

    async def remove(self) -> None:
        """Leave the files to pytest, which keeps those of the last runs."""


def _sqlite_url(path: Path) -> str:
    return f"sqlite+aiosqlite:///{path}"


class PostgresDatabases(Databases):
    """Databases on the one server of this test process.

    A migrated database is emptied after its test and used again: on PostgreSQL a new one costs as much as ten tests.
    """

    kind = "postgresql"
    _numbers = itertools.count()
    _free: ClassVar[dict[str, list[str]]] = defaultdict(list)
    """The empty databases with the schema of a service."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._made: list[str] = []
        self._lent: list[tuple[str, str]] = []

    def _url(self, database: str) -> str:
        return f"postgresql+asyncpg://postgres@/{database}?host={self._socket}"

    async def empty(self) -> str:
        name = f"test_{next(self._numbers)}"
        self._made.append(name)
        await self.administer(f"CREATE DATABASE {name} TEMPLATE template0")
        return self._url(name)

    async def migrated(self, service: str) -> str:
        if not self._free[service]:
            await _migrate_at(await self.empty(), service)
            self._free[service].append(self._made.pop())
        name = self._free[service].pop()
        self._lent.append((service, name))
        return self._url(name)

    async def remove(self) -> None:
        for service, name in self._lent:
            (self._free[service] if await self._emptied(service, name) else self._made).append(name)
        await self.administer(*(f"DROP DATABASE {name} WITH (FORCE)" for name in self._made))

    async def _emptied(self, service: str, name: str) -> bool:
        """Delete every row; false if a test has left a lock behind."""
        connection = await asyncpg.connect(host=str(self._socket), user="postgres", database=name)
        try:
            await connection.execute("SET lock_timeout = 200")
            for table in SERVICES[service].metadata.tables:
                await connection.execute(f"DELETE FROM {table}")  # noqa: S608 — a name of ours
        except asyncpg.LockNotAvailableError:
            return False
        finally:
            await connection.close()
        return True

    async def administer(self, *statements: str) -> None:
        if not statements:
            return
        connection = await asyncpg.connect(host=str(self._socket), user="postgres", database="postgres")
        for statement in statements:
            await connection.execute(statement)
        await connection.close()
