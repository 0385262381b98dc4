"""The measurement of `python -m tests.limits`, small enough for every run."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.system import System

from .open_sagas import measure

SAGAS = 100
MIB_EACH = 1
"""Four times what a saga takes in the memory of a worker that remembers it."""


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    running = System(tmp_path)
    yield running
    if running.worker is not None:
        running.stop()


@pytest.mark.chaos
@pytest.mark.timeout(300)  # it starts six processes and waits for a parked call's rounds
async def test_sagas_that_are_all_open_at_once_take_little_memory_and_all_end(system: System) -> None:
    measured = await measure(system, SAGAS)
    assert measured.open_at_once == measured.confirmed == SAGAS
    assert measured.audit.clean
    assert measured.mib_by_open[SAGAS] - measured.idle_mib < SAGAS * MIB_EACH, measured
