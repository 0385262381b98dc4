"""Migrations lead to the tables that the services declare, and many workers may run them at once."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest
from sqlalchemy import text

from activities.catalogue import SERVICES
from activities.database import UNUSABLE, connect, reason_of
from activities.schema import migrate

from .databases import Databases, SqliteFiles, schema_problems
from .processes import Contenders, migrate_twice
from .samples import sample_of
from .service_harness import Call, ServiceHarness

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


async def test_the_schema_of_a_newer_build_is_reported_and_left_unchanged(databases: Databases) -> None:
    database = connect(await databases.empty())
    await migrate(database, "payment")
    newer = text("UPDATE alembic_version SET version_num = 'tomorrow'")
    await database.transaction(lambda connection: connection.execute(newer) and None)
    with pytest.raises(UNUSABLE) as refused:
        await migrate(database, "payment")
    assert "not of this build, but of a newer one" in reason_of(refused.value)
    assert "tomorrow" in reason_of(refused.value)
    await database.dispose()


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
