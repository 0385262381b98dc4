"""How many sagas are parked now, and for how long: a gauge of each worker of `orders`, from Temporal's visibility."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import structlog
from temporalio.client import Client
from temporalio.common import MetricMeter
from temporalio.service import RPCError

from client import handles
from temporal_saga import State
from temporal_saga.visibility import SAGA_PARKED_SINCE, SAGA_STATE

_METRIC = "saga_parked_now"
_EVERY_S = 30
"""Three counts in half a minute are no load for a server, and an alert on an hour needs no more."""
_AGES = {"0s": timedelta(0), "1h": timedelta(hours=1), "1d": timedelta(days=1)}
_log = structlog.get_logger("parked")


@asynccontextmanager
async def watching_parked(client: Client, meter: MetricMeter) -> AsyncIterator[None]:
    """Keep the gauge within the block: the sagas that have been parked for at least `age`. Every worker has the same
    numbers."""
    task = asyncio.create_task(_watch(client, meter))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _watch(client: Client, meter: MetricMeter) -> None:
    gauge = meter.create_gauge(_METRIC, "Workflows with a parked call, by how long they have had one.")
    while True:
        for age, least in _AGES.items():
            try:
                count = await parked_for(client, least)
            except RPCError as error:
                _log.warning("the sagas that are parked cannot be counted", error=error.message)
            else:
                gauge.set(count, {"age": age})
        await asyncio.sleep(_EVERY_S)


async def parked_for(client: Client, least: timedelta) -> int:
    """The number of open workflows that have had a parked call for at least that long."""
    since = (datetime.now(UTC) - least).isoformat().replace("+00:00", "Z")
    state = f"{SAGA_STATE.name} = '{State.PARKED}' AND {handles.OPEN}"
    return (await client.count_workflows(f"{state} AND {SAGA_PARKED_SINCE.name} <= '{since}'")).count
