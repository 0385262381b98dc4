"""Fixtures: each test gets its own databases, on SQLite and on PostgreSQL; the servers and processes are shared."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from ..postgresql import ON_POSTGRESQL
from .databases import Databases, PostgresDatabases, SqliteFiles
from .processes import Contenders
from .service_harness import ServiceHarness

OpenHarness = Callable[[str], Awaitable[ServiceHarness]]

on_sqlite = pytest.mark.parametrize("databases", ["sqlite"], indirect=True)
"""For what is decided in memory, from the request and the loaded rows: a second kind of database proves nothing new."""


@pytest.fixture(scope="session")
def sqlite_templates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("templates")


@pytest.fixture(scope="session")
def contenders() -> Iterator[Contenders]:
    """Other OS processes, each with its own database engines."""
    with Contenders() as processes:
        yield processes


@pytest.fixture
def sqlite_files(tmp_path: Path, sqlite_templates: Path) -> SqliteFiles:
    return SqliteFiles(tmp_path, sqlite_templates)


@pytest.fixture
async def postgresql_databases(postgres: Path) -> AsyncIterator[PostgresDatabases]:
    made = PostgresDatabases(postgres)
    yield made
    await made.remove()


@pytest.fixture(params=["sqlite", ON_POSTGRESQL])
async def databases(request: pytest.FixtureRequest, tmp_path: Path, sqlite_templates: Path) -> AsyncIterator[Databases]:
    """Each test that uses it runs twice, once on each kind of database."""
    made: Databases
    if request.param == "sqlite":
        made = SqliteFiles(tmp_path, sqlite_templates)
    else:
        made = PostgresDatabases(request.getfixturevalue("postgres"))
    yield made
    await made.remove()


@pytest.fixture
def open_harness(databases: Databases) -> OpenHarness:
    """Starts a service on its own database."""

    async def opened(name: str) -> ServiceHarness:
        return ServiceHarness(name, await databases.migrated(name))

    return opened


@pytest.fixture(autouse=True)
async def closed_databases() -> AsyncIterator[None]:
    """Closes the database of every harness at the end of its test."""
    yield
    for harness in ServiceHarness.opened:
        await harness.database.dispose()
    ServiceHarness.opened.clear()
