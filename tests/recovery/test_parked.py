"""The gauges of what is parked: whatever a round of them meets, the next one is made."""

import asyncio
from typing import cast

import pytest
from structlog.testing import capture_logs

from recovery import parked
from recovery.parked import ParkedGauges


class _Gauges:
    """Gauges of which each of the first rounds meets another error."""

    def __init__(self, *errors: Exception) -> None:
        self.counted = asyncio.Event()
        self._errors = list(errors)

    async def refresh(self) -> None:
        if self._errors:
            raise self._errors.pop(0)
        self.counted.set()


async def test_a_round_of_the_gauges_that_fails_is_told_and_followed_by_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(parked, "_EVERY_S", 0)
    gauges = _Gauges(ValueError("not a log"), RuntimeError("no key"))
    with capture_logs() as lines:
        watching = asyncio.create_task(parked._watch(cast("ParkedGauges", gauges)))
        await asyncio.wait_for(gauges.counted.wait(), 5)
    watching.cancel()
    assert [line["error"] for line in lines] == ["not a log", "no key"]
