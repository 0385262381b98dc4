"""Fixtures: each test gets databases of its own, on SQLite and on PostgreSQL; processes to contend with are shared."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from ..postgresql import postgresql_server
from .bench import Bench
from .databases import Databases, PostgresDatabases, SqliteFiles
from .processes import Contenders

OpenBench = Callable[[str], Awaitable[Bench]]


@pytest.fixture(scope="session")
def postgres() -> Iterator[Path]:
    """The socket directory of a PostgreSQL server that lives as long as this test process."""
    with postgresql_server() as server:
        yield server.socket


@pytest.fixture(scope="session")
def sqlite_templates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("templates")


@pytest.fixture(scope="session")
def contenders() -> Iterator[Contenders]:
    """Other OS processes, each with engines of its own."""
    with Contenders() as processes:
        yield processes


@pytest.fixture
def sqlite(tmp_path: Path, sqlite_templates: Path) -> SqliteFiles:
    return SqliteFiles(tmp_path, sqlite_templates)


@pytest.fixture
async def postgresql(postgres: Path) -> AsyncIterator[PostgresDatabases]:
    made = PostgresDatabases(postgres)
    yield made
    await made.remove()


@pytest.fixture(params=["sqlite", "postgresql"])
async def databases(request: pytest.FixtureRequest, tmp_path: Path, sqlite_templates: Path) -> AsyncIterator[Databases]:
    """Each test that asks for it runs twice, once on each."""
    made: Databases
    if request.param == "sqlite":
        made = SqliteFiles(tmp_path, sqlite_templates)
    else:
        made = PostgresDatabases(request.getfixturevalue("postgres"))
    yield made
    await made.remove()


@pytest.fixture
async def open_bench(databases: Databases) -> AsyncIterator[OpenBench]:
    """Puts a service to work on a new database."""
    async with AsyncExitStack() as stack:

        async def opened(name: str) -> Bench:
            bench = Bench(name, await databases.migrated(name))
            stack.push_async_callback(bench.database.dispose)
            return bench

        yield opened
