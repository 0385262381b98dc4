from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest
import pytest_asyncio
from temporalio.worker import UnsandboxedWorkflowRunner

from composition.workers import WORKFLOW_RUNNER
from runtime import connection
from runtime.settings import Settings
from temporal_saga import POLICIES, Rounds
from workflows import participant

from ..servers import server_without_pauses
from .harness import Harness, serving_participants

_SHORT_ROUNDS = Rounds(first_pause=timedelta(seconds=0.5), longest_pause=timedelta(seconds=4))
"""A twentieth of the product's pauses, and still longer than a delivery takes."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def harness(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Harness]:
    """One harness for all tests of a module; its participants publish events again after short pauses."""
    assert isinstance(WORKFLOW_RUNNER, UnsandboxedWorkflowRunner), "a sandbox would not see the policies changed"
    folder = tmp_path_factory.mktemp("choreography")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(participant, "POLICIES", replace(POLICIES, rounds=_SHORT_ROUNDS))
        async with server_without_pauses(folder) as server:
            client = await connection.connect(Settings(), address=server.address)
            async with serving_participants(client, folder) as made:
                yield made
