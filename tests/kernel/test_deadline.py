"""The deadline bounds what comes before the pivot, and nothing else."""

from __future__ import annotations

from datetime import timedelta

import pytest

from saga import Policies, Policy, State, Status
from saga.interruption import DEADLINE_EXCEEDED

from . import expect
from .agency import Agency, both_orders
from .plan import COURTESY, FINISHES, PIVOT, PLAN, STEPS, branches, unwinding_of_all
from .workflows import SecondAskingWorkflow, TripWorkflow, Whim
from .world import Effect, fail, hang, refuse

MINUTE = timedelta(minutes=1)
PLAN_LAST = STEPS[-1].name
STUBBORN = Policies(
    forward=Policy(
        attempt_timeout=timedelta(seconds=5),
        attempts=1_000,
        total=timedelta(hours=1),
        first_pause=timedelta(seconds=20),
        longest_pause=timedelta(seconds=20),
    )
)
"""Its steps outlast the deadline, mostly between two attempts, where the server's clock can be skipped."""


@pytest.fixture
def workflows() -> tuple[type, ...]:
    return (TripWorkflow, SecondAskingWorkflow)


@pytest.mark.parametrize("step", [step.name for step in STEPS])
async def test_the_deadline_stops_a_step_and_undoes_it(agency: Agency, step: str) -> None:
    agency.world.script(step, then=fail)
    end = await agency.run(deadline=MINUTE, policies=STUBBORN)
    expect.rolled_back_from(agency, end, step, DEADLINE_EXCEEDED, undone_too=True, blamed=False)
    assert end.message == "not confirmed within 60 s"
    assert expect.entry_of(end, step).status is Status.UNKNOWN
    assert expect.entry_of(end, step).error_code == DEADLINE_EXCEEDED


@pytest.mark.parametrize("place", range(len(PLAN)))
async def test_the_deadline_stops_the_workflow_between_two_steps(agency: Agency, place: int) -> None:
    whims = {branches(PLAN[place])[0][0].name: Whim.NAP}
    end = await agency.run(deadline=MINUTE, whims=whims)
    expect.rolled_back(agency, end, DEADLINE_EXCEEDED, unwinding_of_all()[len(PLAN) - place :])


@both_orders
async def test_the_deadline_just_before_the_pivot_rolls_back(agency: Agency) -> None:
    end = await agency.run(deadline=MINUTE, whims={PIVOT.name: Whim.NAP})
    expect.rolled_back(agency, end, DEADLINE_EXCEEDED, unwinding_of_all())


async def test_the_deadline_does_not_wait_for_a_step_that_hangs(agency: Agency) -> None:
    agency.world.script(PLAN_LAST, then=hang)
    end = await agency.run(deadline=timedelta(seconds=1))
    expect.rolled_back_from(agency, end, PLAN_LAST, DEADLINE_EXCEEDED, undone_too=True, blamed=False)


async def test_a_deadline_of_nothing_rolls_back(agency: Agency) -> None:
    end = await agency.run(deadline=timedelta(0), policies=STUBBORN, whims={STEPS[0].name: Whim.NAP})
    expect.rolled_back(agency, end, DEADLINE_EXCEEDED, [])


@pytest.mark.parametrize("operation", [PIVOT.name, *(finish.name for finish in FINISHES)])
async def test_the_deadline_does_not_reach_past_the_pivot(agency: Agency, operation: str) -> None:
    agency.world.script(operation, *[fail] * 20)
    end = await agency.run(deadline=MINUTE)
    expect.confirmed(agency, end)
    entry = expect.entry_of(end, operation)
    assert entry.ended_at is not None
    assert entry.ended_at - entry.started_at > MINUTE


async def test_a_pivot_that_is_refused_and_caught_leaves_the_deadline(agency: Agency) -> None:
    agency.world.script(PIVOT.name, refuse)
    end = await agency.run(SecondAskingWorkflow, deadline=MINUTE)
    assert (end.code, end.log.state) == (DEADLINE_EXCEEDED, State.ROLLED_BACK)
    assert agency.world.of(Effect.HELD) == set()
    assert agency.world.calls.count(PIVOT.name) == 1


async def test_a_deadline_that_passes_at_a_pivot_that_is_refused_stops_the_saga_after_it(agency: Agency) -> None:
    agency.world.script(PIVOT.name, *[fail] * 20, refuse)
    end = await agency.run(SecondAskingWorkflow, deadline=MINUTE)
    assert (end.code, end.log.state) == (DEADLINE_EXCEEDED, State.ROLLED_BACK)
    assert agency.world.of(Effect.HELD) == set()


async def test_a_trip_in_time_is_confirmed(agency: Agency) -> None:
    expect.confirmed(agency, await agency.run(deadline=MINUTE))
    assert agency.world.calls[-1] == COURTESY.name
