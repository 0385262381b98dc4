"""Migrations lead to the tables that the services declare, and many workers may run them at once."""

import asyncio
import shutil
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import text

from activities import schema
from activities.catalogue import SERVICES
from activities.database import UNUSABLE, connect, reason_of
from activities.schema import migrate

from .databases import Databases, SqliteFiles, schema_problems
from .processes import Contenders, migrate_twice
from .samples import sample_of, samples_of
from .service_harness import Call, ServiceHarness

_TOMORROW = """
import sqlalchemy as sa
from alembic import op

revision = "tomorrow"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("payments", sa.Column("note", sa.Text(), nullable=False, server_default="none"))
"""
every_service = pytest.mark.parametrize("service", SERVICES)


async def _assert_schema_is_as_declared(url: str, service: str) -> None:
    database = connect(url)
    assert await database.transaction(partial(schema_problems, service)) == []
    applied = text("SELECT count(*) FROM alembic_version")
    assert await database.transaction(lambda connection: connection.scalar(applied)) == 1
    await database.dispose()


@every_service
async def test_migrating_again_keeps_what_is_there(databases: Databases, service: str) -> None:
    harness = ServiceHarness(service, await databases.migrated(service))
    sample = sample_of(SERVICES[service].handlers[0].operation)
    await harness.accept(*sample.before, Call(sample.operation, sample.request))
    kept = await harness.business()
    await migrate(harness.database, service)
    assert await harness.business() == kept
    await _assert_schema_is_as_declared(harness.url, service)


def _migrations_of_a_newer_build(folder: Path) -> Path:
    """A copy of the migrations in which the payment service has one revision more."""
    newer = shutil.copytree(schema._MIGRATIONS, folder / "migrations")
    (newer / "payment/tomorrow.py").write_text(_TOMORROW)
    return newer


async def test_a_newer_build_upgrades_the_schema_and_keeps_the_rows_and_the_older_build_refuses_it(
    databases: Databases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness = ServiceHarness("payment", await databases.empty())
    await migrate(harness.database, "payment")
    sample, *_ = samples_of("payment")
    await harness.accept(*sample.before, Call(sample.operation, sample.request))
    [row] = await harness.rows("payments")
    with monkeypatch.context() as newer_build:
        newer_build.setattr(schema, "_MIGRATIONS", _migrations_of_a_newer_build(tmp_path))
        await migrate(harness.database, "payment")
    upgraded = text("SELECT transaction_id, note FROM payments")
    rows = await harness.database.transaction(lambda connection: connection.execute(upgraded).all())
    assert rows == [(row["transaction_id"], "none")]
    with pytest.raises(UNUSABLE) as refused:
        await migrate(harness.database, "payment")
    assert "not of this build, but of a newer one" in reason_of(refused.value)
    assert "tomorrow" in reason_of(refused.value)
    assert await harness.rows("payments") == [row]


async def test_eight_workers_in_four_processes_may_migrate_at_once(
    databases: Databases, contenders: Contenders
) -> None:
    url = await databases.empty()
    await contenders.each(migrate_twice, url, "inventory")
    await _assert_schema_is_as_declared(url, "inventory")


async def test_eight_tasks_of_one_process_may_migrate_at_once(databases: Databases) -> None:
    database = connect(url := await databases.empty())
    await asyncio.gather(*(migrate(database, "payment") for _ in range(8)))
    await database.dispose()
    await _assert_schema_is_as_declared(url, "payment")


async def test_the_folder_of_a_sqlite_file_is_made(sqlite_files: SqliteFiles) -> None:
    url = (await sqlite_files.empty()).replace(".db", "/deep/in/data.db")
    database = connect(url)
    await migrate(database, "order")
    await database.dispose()
    await _assert_schema_is_as_declared(url, "order")
