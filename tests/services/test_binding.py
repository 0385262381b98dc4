"""A database belongs to one Temporal, and a worker of another one does not use it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from activities.binding import BoundElsewhere, bind, bound_to
from activities.catalogue import SERVICES
from activities.database import Database, connect, reading
from activities.opening import NotToBeUsed, Opening
from contracts.identity import TemporalIdentity

from .databases import Databases

PRODUCTION = TemporalIdentity("01a2-production", "default", "c-1")
STAGING = TemporalIdentity("01a2-staging", "default", "c-2")
REPLICATED = PRODUCTION._replace(cluster_id="c-3")
"""The same namespace after a failover to another cluster."""


@pytest.fixture
async def url(databases: Databases) -> str:
    return await databases.migrated("payment")


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    opened = connect(url)
    yield opened
    await opened.dispose()


async def _bound_to(url: str) -> TemporalIdentity | None:
    async with reading(url) as connection:
        return await bound_to(connection)


async def test_a_database_is_bound_to_the_first_temporal_and_refused_to_another(database: Database, url: str) -> None:
    assert await _bound_to(url) is None
    await bind(database, PRODUCTION)
    await bind(database, PRODUCTION)
    await bind(database, REPLICATED)
    with pytest.raises(BoundElsewhere) as refused:
        await bind(database, STAGING)
    assert str(PRODUCTION) in str(refused.value)
    assert str(STAGING) in str(refused.value)
    assert await _bound_to(url) == PRODUCTION


async def test_a_database_that_is_adopted_belongs_to_the_new_temporal_alone(database: Database, url: str) -> None:
    await bind(database, PRODUCTION)
    await bind(database, STAGING, adopt=True)
    assert await _bound_to(url) == STAGING
    with pytest.raises(BoundElsewhere):
        await bind(database, PRODUCTION)


async def test_of_two_temporals_that_bind_at_once_one_is_refused(database: Database, url: str) -> None:
    other = connect(url)
    ends = await asyncio.gather(bind(database, PRODUCTION), bind(other, STAGING), return_exceptions=True)
    assert [type(end) for end in ends if end is not None] == [BoundElsewhere]
    await other.dispose()


async def test_a_worker_of_another_temporal_opens_none_of_the_databases(databases: Databases) -> None:
    urls = {service: await databases.empty() for service in SERVICES}
    async with AsyncExitStack() as stack:
        await Opening(urls, PRODUCTION, _no_orders).open(stack, list(SERVICES))
    async with AsyncExitStack() as stack:
        with pytest.raises(NotToBeUsed, match="the order database belongs to Temporal namespace 'default'"):
            await Opening(urls, STAGING, _no_orders).open(stack, list(SERVICES))
        without_permission = Opening(urls, None, _no_orders)  # to read the namespace: it compares nothing
        await without_permission.open(stack, list(SERVICES))
        await Opening(urls, STAGING, _no_orders, adopt=True).open(stack, list(SERVICES))
    assert {service: await _bound_to(url) for service, url in urls.items()} == dict.fromkeys(SERVICES, STAGING)


async def _no_orders() -> bool:
    return False
