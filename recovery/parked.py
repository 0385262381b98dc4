"""What is parked now: gauges of each worker of `orders`, from Temporal's visibility and from the parked sagas."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import structlog
from temporalio.client import Client
from temporalio.common import MetricMeter

from client import handles
from client.handles import Run
from recovery.tolerance import parts
from temporal_saga import Parked, SagaWorkflow
from temporal_saga.visibility import SAGA_PARKED_SINCE

_EVERY_S = 30
"""Between two rounds of three counts, a list and up to `_ASKED` queries. An alert on an hour needs no more."""
_AGES = {"0s": timedelta(0), "1h": timedelta(hours=1), "1d": timedelta(days=1)}
_LISTED = 1000
"""Limit on the parked sagas that a round lists, one page of visibility."""
_ASKED = 100
"""Limit on the parked sagas that a round asks what of them is parked: a fifth of those that a worker keeps in memory.
Each costs a worker a query, and one that no worker has in memory a replay."""
_AT_ONCE = 10
"""Sagas asked at a time, so that steps need not wait behind them. If none answers, a round lasts 50 seconds longer."""
_UNKNOWN = ("unknown", "")
"""The service and the code of what was not asked, or did not answer."""
_log = structlog.get_logger("parked")


@asynccontextmanager
async def watching_parked(client: Client, meter: MetricMeter) -> AsyncIterator[None]:
    """Keep the gauges within the block. Every worker has the same numbers."""
    task = asyncio.create_task(_watch(ParkedGauges(client, meter)))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _watch(gauges: ParkedGauges) -> None:
    while True:
        try:
            await gauges.refresh()
        except Exception as error:  # noqa: BLE001 — whatever it is: gauges that stand still would hide what is parked
            _log.warning("what is parked cannot be counted", error=str(error))
        await asyncio.sleep(_EVERY_S)


class ParkedGauges:
    """The sagas that have been parked for at least `age`; the parked calls, and the age of the oldest of them in
    seconds, by `service` and `error_code`."""

    def __init__(self, client: Client, meter: MetricMeter) -> None:
        self._client = client
        self._sagas = meter.create_gauge(
            "saga_parked_now", "Workflows with a parked call, by how long they have had one."
        )
        self._calls = meter.create_gauge("saga_parked_calls", "Parked calls, by service and code.")
        self._oldest = meter.create_gauge(
            "saga_parked_oldest_seconds", "The age of the oldest parked call, by service and code."
        )
        self._shown = {_UNKNOWN}

    async def refresh(self) -> None:
        """Count anew; what is not parked any more is 0 from now on. Raises `RPCError`."""
        for age, least in _AGES.items():
            self._sagas.set(await parked_for(self._client, least), {"age": age})
        since, now = await parked_since(self._client), datetime.now(UTC)
        self._shown |= since.keys()
        for service, code in self._shown:
            times, labels = since.get((service, code), []), {"service": service, "error_code": code}
            self._calls.set(len(times), labels)
            self._oldest.set(max([0, *(int((now - time).total_seconds()) for time in times)]), labels)


async def parked_for(client: Client, least: timedelta) -> int:
    """The number of open workflows that have had a parked call for at least that long."""
    since = (datetime.now(UTC) - least).isoformat().replace("+00:00", "Z")
    return (await client.count_workflows(f"{handles.PARKED} AND {SAGA_PARKED_SINCE.name} <= '{since}'")).count


async def parked_since(client: Client) -> dict[tuple[str, str], list[datetime]]:
    """Since when each parked call has been parked, by service and code.

    A saga counts as one call of the service `unknown` if it does not answer, or is not asked because a hundred others
    have been parked for longer. More than a thousand parked sagas are not listed.
    """
    runs: list[Run] = []
    async for run in handles.listed(client, handles.PARKED, page_size=_LISTED):
        runs.append(run)
        if len(runs) == _LISTED:
            break
    runs.sort(key=_since)
    found: dict[tuple[str, str], list[datetime]] = defaultdict(list)
    for asked in parts(runs[:_ASKED], _AT_ONCE):
        for run, calls in zip(asked, await asyncio.gather(*(_calls_of(client, run) for run in asked)), strict=True):
            for call in calls or ():
                found[call.step.partition(".")[0], call.error.code].append(call.since)
            if calls is None:
                found[_UNKNOWN].append(_since(run))
    if len(runs) > _ASKED:
        found[_UNKNOWN] += map(_since, runs[_ASKED:])
    return found


def _since(run: Run) -> datetime:
    return run.attributes.get(SAGA_PARKED_SINCE) or run.started_at


async def _calls_of(client: Client, run: Run) -> Sequence[Parked] | None:
    """What is parked of a saga; `None` if it cannot say."""
    try:
        parked: list[Parked] = await handles.query(
            client, client.get_workflow_handle(run.id, run_id=run.run_id), SagaWorkflow.parked
        )
    except handles.CANNOT_SAY:
        return None
    return parked
