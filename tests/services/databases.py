"""Where the tests' databases lie: SQLite files and a real PostgreSQL, each database new, copied from a migrated one."""

from __future__ import annotations

import itertools
import shutil
from abc import ABC, abstractmethod
from pathlib import Path

from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from activities.database import connect, migrate


class Databases(ABC):
    """Makes databases for one test and removes them after it."""

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
    database = connect(url)
    await migrate(database, service)
    await database.dispose()


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
            await _migrate_at(_sqlite_url(template), service)
        url = await self.empty()
        shutil.copy(template, str(make_url(url).database))
        return url

    async def remove(self) -> None:
        """pytest keeps the files of the last runs, for a look at them."""


def _sqlite_url(path: Path) -> str:
    return f"sqlite+aiosqlite:///{path}"


class PostgresDatabases(Databases):
    kind = "postgresql"
    numbers = itertools.count()
    templates: frozenset[str] = frozenset()
    """The services a template was made for. There is one server in a test process, so it is the class's."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._made: list[str] = []

    def _url(self, database: str) -> str:
        return f"postgresql+asyncpg://postgres@/{database}?host={self._socket}"

    async def _create(self, template: str) -> str:
        name = f"test_{next(self.numbers)}"
        self._made.append(name)
        await self.administer(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self._url(name)

    async def empty(self) -> str:
        return await self._create("template0")

    async def migrated(self, service: str) -> str:
        template = f"template_{service}"
        if service not in self.templates:
            await self.administer(f"CREATE DATABASE {template}")
            await _migrate_at(self._url(template), service)
            PostgresDatabases.templates |= {service}
        return await self._create(template)

    async def remove(self) -> None:
        await self.administer(*(f"DROP DATABASE {name} WITH (FORCE)" for name in self._made))

    async def administer(self, *statements: str) -> None:
        engine = create_async_engine(self._url("postgres"), poolclass=NullPool, isolation_level="AUTOCOMMIT")
        async with engine.connect() as connection:
            for statement in statements:
                await connection.execute(text(statement))
        await engine.dispose()
