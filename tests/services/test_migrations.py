"""The schema's versions lead to the tables the services declare, and may be run by anyone at any time."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, MetaData, text

from activities.catalogue import SERVICES
from activities.database import UNUSABLE, connect, migrate, reason_of

from .bench import Bench, Call
from .databases import Databases, SqliteFiles
from .processes import Contenders, migrate_twice
from .samples import SAMPLES

every_service = pytest.mark.parametrize("service", SERVICES)


async def _assert_schema_is_as_declared(url: str, service: str) -> None:
    def differences(connection: Connection, metadata: MetaData) -> list[object]:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": False})
        return list(compare_metadata(context, metadata))

    database = connect(url)
    assert await database.transaction(partial(differences, metadata=SERVICES[service].metadata)) == []
    applied = text("SELECT count(*) FROM alembic_version")
    assert await database.transaction(lambda connection: connection.scalar(applied)) == 1
    await database.dispose()


@every_service
async def test_migrations_lead_to_the_declared_tables(databases: Databases, service: str) -> None:
    url = await databases.empty()
    database = connect(url)
    await migrate(database, service)
    await database.dispose()
    await _assert_schema_is_as_declared(url, service)


@every_service
async def test_migrating_again_keeps_what_is_there(databases: Databases, service: str) -> None:
    bench = Bench(service, await databases.migrated(service))
    sample = next(sample for sample in SAMPLES.values() if sample.operation.queue == service)
    await bench.accept(*sample.before, Call(sample.operation, sample.request))
    kept = await bench.business()
    await migrate(bench.database, service)
    assert await bench.business() == kept
    await bench.database.dispose()
    await _assert_schema_is_as_declared(bench.url, service)


async def test_the_schema_of_a_newer_build_is_said_and_left_as_it_is(databases: Databases) -> None:
    database = connect(await databases.migrated("payment"))
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


async def test_one_process_may_migrate_all_services_at_once(databases: Databases) -> None:
    urls = {service: await databases.empty() for service in SERVICES}
    opened = {service: connect(url) for service, url in urls.items()}
    await asyncio.gather(*(migrate(database, service) for service, database in opened.items()))
    for service, database in opened.items():
        await database.dispose()
        await _assert_schema_is_as_declared(urls[service], service)


async def test_the_folder_of_a_sqlite_file_is_made(sqlite: SqliteFiles) -> None:
    url = (await sqlite.empty()).replace(".db", "/deep/in/data.db")
    database = connect(url)
    await migrate(database, "order")
    await database.dispose()
    await _assert_schema_is_as_declared(url, "order")
