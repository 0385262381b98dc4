"""Between two cases the clock of the server that skips time stands, whatever the case before has left behind."""

import asyncio
from datetime import timedelta

import pytest
from google.protobuf.duration_pb2 import Duration
from temporalio.api.testservice.v1 import LockTimeSkippingRequest, SleepRequest
from temporalio.testing import WorkflowEnvironment

from temporal_saga.testing import release_clock

_HOUR = timedelta(hours=1)
_LATE_S = 0.5


async def _stands(server: WorkflowEnvironment) -> bool:
    """Whether a timer of an hour waits until somebody asks the server to skip time."""
    timer = asyncio.create_task(
        server.client.test_service.sleep(SleepRequest(duration=Duration(seconds=int(_HOUR.total_seconds()))))
    )
    ended, _ = await asyncio.wait({timer}, timeout=0.1)
    await release_clock(server)
    await timer
    return not ended


async def test_the_clock_stands_after_a_case_that_held_it_more_than_once(
    time_skipping_server: WorkflowEnvironment,
) -> None:
    for _ in range(3):
        await time_skipping_server.client.test_service.lock_time_skipping(LockTimeSkippingRequest())
    await release_clock(time_skipping_server)
    assert await _stands(time_skipping_server)


async def test_the_clock_stands_although_a_busy_machine_hears_late_that_the_server_has_slept(
    time_skipping_server: WorkflowEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept = time_skipping_server.sleep

    async def sleep(duration: timedelta | float) -> None:
        await slept(duration)
        await asyncio.sleep(_LATE_S)

    with monkeypatch.context() as busy:
        busy.setattr(time_skipping_server, "sleep", sleep)
        await release_clock(time_skipping_server)
    assert await _stands(time_skipping_server)
