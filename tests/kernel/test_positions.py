"""Every step of the plan, failing in every way."""

from __future__ import annotations

from datetime import timedelta

import pytest

from saga import Status
from saga.outcome import SERVICE_UNAVAILABLE, STEP_TIMEOUT

from . import expect
from .agency import Agency
from .plan import STEPS
from .world import SOLD_OUT, Effect, fail, hang, lose_reply, refuse

every_step = pytest.mark.parametrize("step", [step.name for step in STEPS])
ATTEMPTS = 4
"""Of a forward step, by the kernel's own policy."""


async def test_a_trip_without_trouble_is_confirmed(agency: Agency) -> None:
    end = await agency.run()
    expect.confirmed(agency, end)
    assert {(entry.status, entry.attempts) for entry in end.log.steps} == {(Status.DONE, 1)}


@every_step
async def test_a_refused_step_is_not_undone(agency: Agency, step: str) -> None:
    agency.world.script(step, then=refuse)
    end = await agency.run()
    expect.rolled_back_from(agency, end, step, SOLD_OUT, undone_too=False)
    entry = expect.entry_of(end, step)
    assert (entry.status, entry.attempts, entry.error_code) == (Status.REFUSED, 1, SOLD_OUT)


@every_step
async def test_a_step_whose_attempts_run_out_is_undone_too(agency: Agency, step: str) -> None:
    agency.world.script(step, then=fail)
    end = await agency.run()
    expect.rolled_back_from(agency, end, step, SERVICE_UNAVAILABLE, undone_too=True)
    entry = expect.entry_of(end, step)
    assert (entry.status, entry.attempts) == (Status.UNKNOWN, ATTEMPTS)
    assert agency.world.calls.count(step) == ATTEMPTS


@every_step
async def test_a_step_that_does_not_answer_is_undone_too(agency: Agency, step: str) -> None:
    agency.world.script(step, then=hang)
    end = await agency.run(patience={step: timedelta(milliseconds=150)})
    expect.rolled_back_from(agency, end, step, STEP_TIMEOUT, undone_too=True)
    entry = expect.entry_of(end, step)
    assert (entry.status, entry.attempts) == (Status.UNKNOWN, ATTEMPTS)
    assert agency.world.calls.count(step) == ATTEMPTS


@every_step
async def test_a_step_that_took_effect_and_lost_its_reply_is_undone(agency: Agency, step: str) -> None:
    agency.world.script(step, lose_reply, then=fail)
    end = await agency.run()
    expect.rolled_back_from(agency, end, step, SERVICE_UNAVAILABLE, undone_too=True)
    undoable = {each.name for each in STEPS if each.undo}
    assert (step in agency.world.of(Effect.UNDONE)) == (step in undoable)


@every_step
async def test_a_step_that_succeeds_on_its_third_attempt_is_done_once(agency: Agency, step: str) -> None:
    agency.world.script(step, fail, fail)
    end = await agency.run()
    expect.confirmed(agency, end)
    entry = expect.entry_of(end, step)
    assert (entry.status, entry.attempts) == (Status.DONE, 3)


@every_step
async def test_a_lost_reply_is_fetched_by_the_next_attempt(agency: Agency, step: str) -> None:
    agency.world.script(step, lose_reply)
    expect.confirmed(agency, await agency.run())
