from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest
import pytest_asyncio
from temporalio.worker import UnsandboxedWorkflowRunner

from runtime import connection
from runtime.embedded import embedded_server, free_port
from runtime.settings import Settings
from saga import POLICIES, Rounds
from worker import workflow_runner
from workflows import choreography

from .stage import Stage, stage

IMPATIENT = Rounds(first_pause=timedelta(seconds=0.5), longest_pause=timedelta(seconds=4))
"""A twentieth of what the product waits for, and still longer than a delivery takes."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def on_stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """One stage for all tests of a module, with impatient participants."""
    assert isinstance(workflow_runner(), UnsandboxedWorkflowRunner), "a sandbox would not see the policies changed"
    folder = tmp_path_factory.mktemp("stage")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(choreography, "POLICIES", replace(POLICIES, rounds=IMPATIENT))
        async with embedded_server(port=free_port(), ui_port=free_port(), data=folder) as server:
            client = await connection.connect(Settings(), address=server.address)
            async with stage(client, folder) as made:
                yield made
