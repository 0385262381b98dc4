from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

import saga
from runtime import connection
from runtime.embedded import embedded_server, free_port
from runtime.settings import Settings
from saga import POLICIES, Rounds

from .stage import Stage, stage


@pytest.fixture
async def on_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    """A stage of this test's own, whose participants are impatient: seconds of waiting take a thirtieth of that."""
    impatient = Rounds(first_pause=timedelta(seconds=0.3), longest_pause=timedelta(seconds=2))
    monkeypatch.setattr(saga, "POLICIES", replace(POLICIES, rounds=impatient))
    async with embedded_server(port=free_port(), ui_port=free_port(), data=tmp_path) as server:
        client = await connection.connect(Settings(), address=server.address)
        async with stage(client, tmp_path) as made:
            yield made
