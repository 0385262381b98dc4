"""What the workflow's own code does between the calls: naps and errors, bugs, detours."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowUpdateFailedError

from saga import State, Status
from saga.outcome import SERVICE_UNAVAILABLE

from . import expect
from .agency import Agency, Handle
from .plan import COURTESY, FINISHES, PIVOT, PLAN, STEPS, branches, unwinding_of_all
from .test_cancel import Cancel, by_business, by_temporal
from .workflows import (
    SECOND_THOUGHTS,
    DetourWorkflow,
    DirectWorkflow,
    HomemadeCancelWorkflow,
    LocalCallWorkflow,
    RetryWorkflow,
    Trip,
    TripWorkflow,
    Whim,
)
from .world import SOLD_OUT, Behaviour, Effect, fail, lose_reply, refuse

PLACES = [*(branches(part)[0][0].name for part in PLAN), PIVOT.name]
FIRST, LAST = STEPS[0], STEPS[-1]
OTHER_WORKFLOWS = (DetourWorkflow, DirectWorkflow, HomemadeCancelWorkflow, LocalCallWorkflow, RetryWorkflow)
every_place = pytest.mark.parametrize("place", range(len(PLACES)))


@pytest.fixture
def workflows() -> tuple[type, ...]:
    return (TripWorkflow, *OTHER_WORKFLOWS)


@every_place
async def test_an_application_error_rolls_back_with_its_type_as_code(agency: Agency, place: int) -> None:
    end = await agency.run(whims={PLACES[place]: Whim.RAISE})
    expect.rolled_back(agency, end, SECOND_THOUGHTS, unwinding_of_all()[len(PLAN) - place :])
    assert "rather stay at home" in end.message


@every_place
async def test_a_bug_waits_for_its_fix_and_undoes_nothing(agency: Agency, place: int) -> None:
    handle = await agency.start(whims={PLACES[place]: Whim.BUG})
    assert "a bug" in await failed_task(handle)
    before = {step.name for part in PLAN[:place] for branch in branches(part) for step in branch if step.undo}
    assert agency.world.of(Effect.HELD) == before
    assert agency.world.undone == []
    await handle.terminate()


async def test_an_error_past_the_pivot_is_a_bug_and_undoes_nothing(agency: Agency) -> None:
    handle = await agency.start(whims={FINISHES[0].name: Whim.RAISE})
    assert "past the pivot" in await failed_task(handle)
    assert PIVOT.name in agency.world.of(Effect.HELD)
    assert agency.world.undone == []
    await handle.terminate()


async def test_a_cancelled_task_of_the_workflows_own_is_a_bug_and_not_an_end(agency: Agency) -> None:
    """Temporal would end the workflow as cancelled, with the step's effect left standing."""
    handle = await agency.start(HomemadeCancelWorkflow)
    assert "nobody has asked" in await failed_task(handle)
    assert agency.world.of(Effect.HELD) == {FIRST.name}
    await handle.terminate()


async def test_a_refused_step_may_be_replaced_by_another(agency: Agency) -> None:
    agency.world.script(FIRST.name, then=refuse)
    end = await agency.run(DetourWorkflow)
    assert (end.code, end.log.state, end.log.error) == (None, State.CONFIRMED, None)
    assert agency.world.of(Effect.HELD) == {LAST.name, PIVOT.name}


async def test_a_step_of_unknown_outcome_that_was_replaced_is_undone_before_the_confirmation(agency: Agency) -> None:
    agency.world.script(FIRST.name, lose_reply, then=fail)
    end = await agency.run(DetourWorkflow)
    assert (end.code, end.log.state) == (None, State.CONFIRMED)
    assert expect.entry_of(end, FIRST.name).status is Status.UNKNOWN
    assert agency.world.undone == [FIRST.undo.name] if FIRST.undo else []
    assert agency.world.of(Effect.HELD) == {LAST.name, PIVOT.name}


async def test_a_step_of_unknown_outcome_that_was_replaced_is_undone_by_a_rollback(agency: Agency) -> None:
    agency.world.script(FIRST.name, lose_reply, then=fail)
    agency.world.script(PIVOT.name, then=refuse)
    end = await agency.run(DetourWorkflow)
    assert (end.code, end.log.state) == (SOLD_OUT, State.ROLLED_BACK)
    assert agency.world.undone == [step.undo.name for step in (LAST, FIRST) if step.undo]
    assert agency.world.of(Effect.HELD) == set()


async def test_a_cancel_is_not_mistaken_for_a_step_to_replace(agency: Agency) -> None:
    handle, _ = await agency.stop_at(FIRST.name, DetourWorkflow)
    await by_business(handle)
    end = await agency.end(handle)
    assert (end.code, end.log.state) == ("CANCELLED", State.ROLLED_BACK)
    assert LAST.name not in agency.world.calls


async def test_a_refused_repetition_leaves_the_undo_of_the_first_call_in_its_place(agency: Agency) -> None:
    agency.world.script(FIRST.name, lose_reply, fail, fail, fail, refuse)
    end = await agency.run(RetryWorkflow)
    assert (end.code, end.log.state) == (SOLD_OUT, State.ROLLED_BACK)
    assert agency.world.undone == [step.undo.name for step in (LAST, FIRST) if step.undo]


async def test_a_saga_without_a_pivot_cannot_be_cancelled_once_it_is_confirmed(agency: Agency) -> None:
    handle = await agency.start(DirectWorkflow, deadline=timedelta(minutes=1))
    await agency.until_known(handle, [FIRST.name])
    with pytest.raises(WorkflowUpdateFailedError):
        await by_business(handle)
    end = await agency.end(handle)
    assert (end.code, end.log.state) == (None, State.CONFIRMED)


@pytest.mark.parametrize("cancel", [by_business, by_temporal])
async def test_a_cancel_during_a_best_effort_call_stops_the_saga_after_it(agency: Agency, cancel: Cancel) -> None:
    handle, gate = await agency.stop_at(COURTESY.name, DirectWorkflow)
    await cancel(handle)
    gate.open.set()
    end = await agency.end(handle)
    assert (end.code, end.log.state) == ("CANCELLED", State.ROLLED_BACK)
    assert agency.world.calls == [COURTESY.name]


@pytest.mark.parametrize(
    ("trouble", "outcome"), [(refuse, f"Refused {SOLD_OUT} 1"), (fail, f"Unknown {SERVICE_UNAVAILABLE} 1")]
)
async def test_a_local_call_fails_in_its_own_way_and_means_the_same(
    agency: Agency, trouble: Behaviour, outcome: str
) -> None:
    agency.world.script(PIVOT.name, then=trouble)
    found = await agency.server.client.execute_workflow(
        LocalCallWorkflow.run, Trip("local"), id=f"local-{agency.queue}", task_queue=agency.queue
    )
    assert found == [f"ActivityError: {outcome}", f"ApplicationError: {outcome}"]


async def failed_task(handle: Handle) -> str:
    """Wait for a workflow task to fail, and say why."""
    async with asyncio.timeout(20):
        while True:
            async for event in handle.fetch_history_events():
                if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED:
                    return event.workflow_task_failed_event_attributes.failure.message
            await asyncio.sleep(0.02)
