"""Sagas that ask their own worker first: the same ends, by fewer events; the rest goes the long way."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from temporalio.api.enums.v1 import EventType

from saga import POLICIES, Policies, Policy, Status

from . import expect
from .agency import Agency, Handle
from .plan import COURTESY, FINISHES, OPERATIONS, PIVOT, STEPS
from .world import SOLD_OUT, Behaviour, fail, hang, lose_reply, refuse

HERE = POLICIES.colocated()
every_step = pytest.mark.parametrize("step", [step.name for step in STEPS])


async def test_a_trip_without_trouble_needs_the_queue_for_its_pivot_alone(agency: Agency) -> None:
    handle = await agency.start(policies=HERE)
    end = await agency.end(handle)
    expect.confirmed(agency, end)
    assert {(entry.status, entry.attempts) for entry in end.log.steps} == {(Status.DONE, 1)}
    assert await _scheduled(handle) == [PIVOT.name]


@every_step
async def test_a_refusal_is_heard_at_once(agency: Agency, step: str) -> None:
    agency.world.script(step, then=refuse)
    handle = await agency.start(policies=HERE)
    end = await agency.end(handle)
    expect.rolled_back_from(agency, end, step, SOLD_OUT, undone_too=False)
    assert sorted(await _scheduled(handle)) == sorted(agency.world.undone), "undos wait for the history"
    entry = expect.entry_of(end, step)
    assert (entry.status, entry.attempts) == (Status.REFUSED, 1)


@pytest.mark.parametrize("trouble", [fail, lose_reply])
@every_step
async def test_what_goes_wrong_here_is_asked_over_the_queue(agency: Agency, step: str, trouble: Behaviour) -> None:
    agency.world.script(step, trouble)
    handle = await agency.start(policies=HERE)
    end = await agency.end(handle)
    expect.confirmed(agency, end)
    assert expect.entry_of(end, step).attempts == 2
    assert await _scheduled(handle) == [step, PIVOT.name]


async def test_what_does_not_answer_here_is_asked_over_the_queue(agency: Agency) -> None:
    forward, finish, best_effort = map(_hasty, (HERE.forward, HERE.finish, HERE.best_effort))
    hasty = Policies(forward=forward, finish=finish, best_effort=best_effort)
    for operation in OPERATIONS:
        agency.world.script(operation.name, hang)
    end = await agency.run(policies=hasty)
    expect.confirmed(agency, end)
    assert {entry.attempts for entry in end.log.steps} == {2}


@pytest.mark.parametrize("max_cached_workflows", [0])
async def test_a_worker_that_takes_a_saga_over_asks_over_the_queue_alone(agency: Agency) -> None:
    """Without a cache, whoever goes on after the pivot is a stranger: a call that kills its process kills one."""
    handle = await agency.start(policies=HERE)
    expect.confirmed(agency, await agency.end(handle))
    assert await _scheduled(handle) == [PIVOT.name, *(finish.name for finish in FINISHES), COURTESY.name]
    await agency.replay(handle)


async def test_a_step_that_gets_no_answer_either_way_is_undone(agency: Agency) -> None:
    step = STEPS[-1].name
    agency.world.script(step, then=fail)
    end = await agency.run(policies=HERE)
    entry = expect.entry_of(end, step)
    assert (entry.status, entry.attempts) == (Status.UNKNOWN, 1 + HERE.forward.attempts)


def _hasty(policy: Policy) -> Policy:
    return replace(policy, here=timedelta(milliseconds=150))


async def _scheduled(handle: Handle) -> list[str]:
    """What went over a queue."""
    scheduled = EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED
    events = (await handle.fetch_history()).events
    return [e.activity_task_scheduled_event_attributes.activity_type.name for e in events if e.event_type == scheduled]
