"""Every step of the plan fails in every way."""

from __future__ import annotations

from datetime import timedelta

import pytest

from temporal_saga import Status
from temporal_saga.outcome import SERVICE_UNAVAILABLE, STEP_TIMEOUT

from . import expect
from .harness import Harness
from .plan import STEPS
from .services import SOLD_OUT, Effect, fail, hang, lose_reply, refuse

every_step = pytest.mark.parametrize("step", [step.name for step in STEPS])
ATTEMPTS = 4
"""Attempts of a forward step by the kernel's own policy."""


async def test_a_trip_without_trouble_is_confirmed(harness: Harness) -> None:
    end = await harness.run()
    expect.confirmed(harness, end)
    assert {(entry.status, entry.attempts) for entry in end.log.steps} == {(Status.DONE, 1)}


@every_step
async def test_a_refused_step_is_not_undone(harness: Harness, step: str) -> None:
    harness.services.script(step, then=refuse)
    end = await harness.run()
    expect.rolled_back_from(harness, end, step, SOLD_OUT, undone_too=False)
    entry = expect.entry_of(end, step)
    assert (entry.status, entry.attempts, entry.error_code) == (Status.REFUSED, 1, SOLD_OUT)


@every_step
async def test_a_step_whose_attempts_run_out_is_undone_too(harness: Harness, step: str) -> None:
    harness.services.script(step, then=fail)
    end = await harness.run()
    expect.rolled_back_from(harness, end, step, SERVICE_UNAVAILABLE, undone_too=True)
    entry = expect.entry_of(end, step)
    assert (entry.status, entry.attempts) == (Status.UNKNOWN, ATTEMPTS)
    assert harness.services.calls.count(step) == ATTEMPTS


@every_step
async def test_a_step_that_does_not_answer_is_undone_too(harness: Harness, step: str) -> None:
    harness.services.script(step, then=hang)
    end = await harness.run(attempt_timeouts={step: timedelta(milliseconds=150)})
    expect.rolled_back_from(harness, end, step, STEP_TIMEOUT, undone_too=True)
    entry = expect.entry_of(end, step)
    assert (entry.status, entry.attempts) == (Status.UNKNOWN, ATTEMPTS)
    assert harness.services.calls.count(step) == ATTEMPTS


@every_step
async def test_a_step_that_took_effect_and_lost_its_reply_is_undone(harness: Harness, step: str) -> None:
    harness.services.script(step, lose_reply, then=fail)
    end = await harness.run()
    expect.rolled_back_from(harness, end, step, SERVICE_UNAVAILABLE, undone_too=True)
    undoable = {each.name for each in STEPS if each.undo}
    assert (step in harness.services.of(Effect.UNDONE)) == (step in undoable)


@every_step
async def test_a_step_that_succeeds_on_its_third_attempt_is_done_once(harness: Harness, step: str) -> None:
    harness.services.script(step, fail, fail)
    end = await harness.run()
    expect.confirmed(harness, end)
    entry = expect.entry_of(end, step)
    assert (entry.status, entry.attempts) == (Status.DONE, 3)


@every_step
async def test_a_lost_reply_is_fetched_by_the_next_attempt(harness: Harness, step: str) -> None:
    harness.services.script(step, lose_reply)
    expect.confirmed(harness, await harness.run())
