"""Sagas that ask their own worker first: the same ends, by fewer events; the rest goes the long way."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from temporalio.api.enums.v1 import EventType

from saga import POLICIES, Policies, Policy, State, Status
from saga.interruption import DEADLINE_EXCEEDED
from saga.outcome import CANCELLED

from . import expect
from .agency import Agency, Handle, real_server
from .plan import COURTESY, FINISHES, OPERATIONS, PIVOT, STEPS
from .test_cancel import by_business
from .world import SOLD_OUT, Behaviour, fail, hang, lose_reply, nap, refuse

HERE = POLICIES.colocated()
OPENING = STEPS[0].name
every_step = pytest.mark.parametrize("step", [step.name for step in STEPS])


async def test_a_trip_without_trouble_needs_the_queue_for_its_first_step_and_its_pivot_alone(agency: Agency) -> None:
    handle = await agency.start(policies=HERE)
    end = await agency.end(handle)
    expect.confirmed(agency, end)
    assert {(entry.status, entry.attempts) for entry in end.log.steps} == {(Status.DONE, 1)}
    assert await _scheduled(handle) == [OPENING, PIVOT.name]


@every_step
async def test_a_refusal_is_heard_at_once(agency: Agency, step: str) -> None:
    agency.world.script(step, then=refuse)
    handle = await agency.start(policies=HERE)
    end = await agency.end(handle)
    expect.rolled_back_from(agency, end, step, SOLD_OUT, undone_too=False)
    assert sorted(await _scheduled(handle)) == sorted([OPENING, *agency.world.undone]), "undos wait for the history"
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
    assert await _scheduled(handle) == [OPENING, step, PIVOT.name]


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
    """Without a cache, whoever goes on after an answer is a stranger: a call that kills its process kills one."""
    handle = await agency.start(policies=HERE)
    expect.confirmed(agency, await agency.end(handle))
    assert {(entry.status, entry.attempts) for entry in (await agency.log(handle)).steps} == {(Status.DONE, 1)}
    everything = {*(step.name for step in STEPS), PIVOT.name, *(finish.name for finish in FINISHES), COURTESY.name}
    assert {*await _scheduled(handle)} == everything
    await agency.replay(handle)


async def test_a_step_that_gets_no_answer_either_way_is_undone(agency: Agency) -> None:
    step = STEPS[-1].name
    agency.world.script(step, then=fail)
    end = await agency.run(policies=HERE)
    entry = expect.entry_of(end, step)
    assert (entry.status, entry.attempts) == (Status.UNKNOWN, 1 + HERE.forward.attempts)


async def test_a_call_that_is_cancelled_here_is_not_made_again_over_the_queue(
    closed_agency: Agency, embedded: str
) -> None:
    """The server that skips time has no news for a workflow task that is kept open."""
    closed_agency.server = await real_server(embedded)
    step, patient = STEPS[-1].name, replace(HERE, forward=replace(HERE.forward, local=timedelta(minutes=1)))
    gate = closed_agency.world.gate(step)
    async with closed_agency.worker():
        handle = await closed_agency.start(task=timedelta(seconds=1), policies=patient)
        await gate.reached.wait()
        await by_business(handle)
        end = await closed_agency.end(handle)
        gate.open.set()
    expect.rolled_back_from(closed_agency, end, step, CANCELLED, undone_too=True, blamed=False)
    assert step not in await _scheduled(handle)
    assert closed_agency.world.calls.count(step) == 1


async def test_the_deadline_holds_between_two_calls_of_one_workflow_task(closed_agency: Agency, embedded: str) -> None:
    """No timer fires while a workflow task is open, and calls made here keep it open."""
    closed_agency.server = await real_server(embedded)  # the server that skips time would skip the nap
    for step in STEPS:
        closed_agency.world.script(step.name, then=nap)
    async with closed_agency.worker():
        handle = await closed_agency.start(policies=HERE, deadline=timedelta(milliseconds=350))
        end = await closed_agency.end(handle)
        assert (end.code, end.log.state) == (DEADLINE_EXCEEDED, State.ROLLED_BACK)
        assert PIVOT.name not in closed_agency.world.calls
        await closed_agency.replay(handle)


def _hasty(policy: Policy) -> Policy:
    return replace(policy, local=timedelta(milliseconds=150))


async def _scheduled(handle: Handle) -> list[str]:
    """What went over a queue."""
    scheduled = EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED
    events = (await handle.fetch_history()).events
    return [e.activity_task_scheduled_event_attributes.activity_type.name for e in events if e.event_type == scheduled]
