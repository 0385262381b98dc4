"""The deadline bounds the phase before the pivot, and nothing else."""

from __future__ import annotations

from datetime import timedelta

import pytest

from temporal_saga import DEADLINE_EXCEEDED, State, Status

from . import expect
from .harness import Harness, both_orders
from .plan import FINISHES, PIVOT, PLAN, STEPS, branches, unwinding_of_all
from .policies import MANY_ATTEMPTS, MINUTE
from .services import Effect, fail, hang, refuse
from .workflows import BodyAction, SecondPivotWorkflow, TripWorkflow

PLAN_LAST = STEPS[-1].name


@pytest.fixture
def workflows() -> tuple[type, ...]:
    return (TripWorkflow, SecondPivotWorkflow)


@pytest.mark.parametrize("step", [step.name for step in STEPS])
async def test_the_deadline_stops_a_step_and_undoes_it(harness: Harness, step: str) -> None:
    harness.services.script(step, then=fail)
    end = await harness.run(deadline=MINUTE, policies=MANY_ATTEMPTS)
    expect.rolled_back_from(harness, end, step, DEADLINE_EXCEEDED, undone_too=True, blamed=False)
    assert end.message == "not confirmed within 60 s"
    assert expect.entry_of(end, step).status is Status.UNKNOWN
    assert expect.entry_of(end, step).error_code == DEADLINE_EXCEEDED


@pytest.mark.parametrize("place", range(len(PLAN)))
async def test_the_deadline_stops_the_workflow_between_two_steps(harness: Harness, place: int) -> None:
    actions = {branches(PLAN[place])[0][0].name: BodyAction.SLEEP}
    end = await harness.run(deadline=MINUTE, actions=actions)
    expect.rolled_back(harness, end, DEADLINE_EXCEEDED, unwinding_of_all()[len(PLAN) - place :])


@both_orders
async def test_the_deadline_just_before_the_pivot_rolls_back(harness: Harness) -> None:
    end = await harness.run(deadline=MINUTE, actions={PIVOT.name: BodyAction.SLEEP})
    expect.rolled_back(harness, end, DEADLINE_EXCEEDED, unwinding_of_all())


async def test_the_deadline_does_not_wait_for_a_step_that_hangs(harness: Harness) -> None:
    harness.services.script(PLAN_LAST, then=hang)
    end = await harness.run(deadline=timedelta(seconds=1))
    expect.rolled_back_from(harness, end, PLAN_LAST, DEADLINE_EXCEEDED, undone_too=True, blamed=False)


async def test_a_deadline_of_nothing_rolls_back(harness: Harness) -> None:
    end = await harness.run(deadline=timedelta(0), policies=MANY_ATTEMPTS, actions={STEPS[0].name: BodyAction.SLEEP})
    expect.rolled_back(harness, end, DEADLINE_EXCEEDED, [])


@pytest.mark.parametrize("operation", [PIVOT.name, *(finish.name for finish in FINISHES)])
async def test_the_deadline_does_not_reach_past_the_pivot(harness: Harness, operation: str) -> None:
    harness.services.script(operation, *[fail] * 20)
    end = await harness.run(deadline=MINUTE)
    expect.confirmed(harness, end)
    entry = expect.entry_of(end, operation)
    assert entry.ended_at is not None
    assert entry.ended_at - entry.started_at > MINUTE


async def test_a_pivot_that_is_refused_and_caught_leaves_the_deadline(harness: Harness) -> None:
    harness.services.script(PIVOT.name, refuse)
    end = await harness.run(SecondPivotWorkflow, deadline=MINUTE)
    assert (end.code, end.log.state) == (DEADLINE_EXCEEDED, State.ROLLED_BACK)
    assert harness.services.of(Effect.HELD) == set()
    assert harness.services.calls.count(PIVOT.name) == 1


async def test_a_deadline_that_passes_at_a_pivot_that_is_refused_stops_the_saga_after_it(harness: Harness) -> None:
    harness.services.script(PIVOT.name, *[fail] * 20, refuse)
    end = await harness.run(SecondPivotWorkflow, deadline=MINUTE)
    assert (end.code, end.log.state) == (DEADLINE_EXCEEDED, State.ROLLED_BACK)
    assert harness.services.of(Effect.HELD) == set()
