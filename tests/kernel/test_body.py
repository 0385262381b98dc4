"""The workflow's own code between the calls: it sleeps, raises errors, has bugs, takes detours."""

from datetime import timedelta

import pytest
from temporalio.client import WorkflowUpdateFailedError

from temporal_saga import State, Status
from temporal_saga.outcome import SERVICE_UNAVAILABLE

from . import expect
from .cancels import Cancel, by_business, by_temporal
from .harness import Harness, failed_task
from .plan import BEST_EFFORT, FINISHES, PIVOT, PLAN, STEPS, branches
from .services import SOLD_OUT, Behaviour, Effect, fail, lose_reply, refuse
from .workflows import (
    SECOND_THOUGHTS,
    BodyAction,
    DetourWorkflow,
    DirectWorkflow,
    LocalCallWorkflow,
    OwnCancelWorkflow,
    RetryWorkflow,
    Trip,
)

PLACES = [*(branches(part)[0][0].name for part in PLAN), PIVOT.name]
FIRST, LAST = STEPS[0], STEPS[-1]
every_place = pytest.mark.parametrize("place", [2, len(PLACES) - 1])


@every_place
async def test_an_application_error_rolls_back_with_its_type_as_code(harness: Harness, place: int) -> None:
    end = await harness.run(actions={PLACES[place]: BodyAction.RAISE})
    expect.rolled_back(harness, end, SECOND_THOUGHTS)
    assert "rather stay at home" in end.message


@every_place
async def test_a_bug_waits_for_its_fix_and_undoes_nothing(harness: Harness, place: int) -> None:
    handle = await harness.start(actions={PLACES[place]: BodyAction.BUG})
    assert "a bug" in await failed_task(handle)
    before = {step.name for part in PLAN[:place] for branch in branches(part) for step in branch if step.undo}
    assert harness.services.of(Effect.HELD) == before
    assert harness.services.undone == []
    await handle.terminate()


async def test_an_error_past_the_pivot_is_a_bug_and_undoes_nothing(harness: Harness) -> None:
    handle = await harness.start(actions={FINISHES[0].name: BodyAction.RAISE})
    assert "past the pivot" in await failed_task(handle)
    assert PIVOT.name in harness.services.of(Effect.HELD)
    assert harness.services.undone == []
    await handle.terminate()


async def test_a_cancelled_task_of_the_workflows_own_is_a_bug_and_not_an_end(harness: Harness) -> None:
    """Temporal would end the workflow as cancelled, with the step's effect left standing."""
    handle = await harness.start(OwnCancelWorkflow)
    assert "nobody has asked" in await failed_task(handle)
    assert harness.services.of(Effect.HELD) == {FIRST.name}
    await handle.terminate()


async def test_a_refused_step_may_be_replaced_by_another(harness: Harness) -> None:
    harness.services.script(FIRST.name, then=refuse)
    end = await harness.run(DetourWorkflow)
    assert (end.code, end.log.state, end.log.error) == (None, State.CONFIRMED, None)
    assert harness.services.of(Effect.HELD) == {LAST.name, PIVOT.name}


async def test_a_step_of_unknown_outcome_that_was_replaced_is_undone_before_the_confirmation(harness: Harness) -> None:
    harness.services.script(FIRST.name, lose_reply, then=fail)
    end = await harness.run(DetourWorkflow)
    assert (end.code, end.log.state) == (None, State.CONFIRMED)
    assert expect.entry_of(end, FIRST.name).status is Status.UNKNOWN
    assert harness.services.undone == [FIRST.undo.name] if FIRST.undo else []
    assert harness.services.of(Effect.HELD) == {LAST.name, PIVOT.name}


async def test_a_step_of_unknown_outcome_that_was_replaced_is_undone_by_a_rollback(harness: Harness) -> None:
    harness.services.script(FIRST.name, lose_reply, then=fail)
    harness.services.script(PIVOT.name, then=refuse)
    end = await harness.run(DetourWorkflow)
    assert (end.code, end.log.state) == (SOLD_OUT, State.ROLLED_BACK)
    assert harness.services.undone == [step.undo.name for step in (LAST, FIRST) if step.undo]
    assert harness.services.of(Effect.HELD) == set()


async def test_a_cancel_is_not_mistaken_for_a_step_to_replace(harness: Harness) -> None:
    handle, _ = await harness.stop_at(FIRST.name, DetourWorkflow)
    await by_business(handle)
    end = await harness.end(handle)
    assert (end.code, end.log.state) == ("CANCELLED", State.ROLLED_BACK)
    assert LAST.name not in harness.services.calls


async def test_a_refused_repetition_leaves_the_undo_of_the_first_call_in_its_place(harness: Harness) -> None:
    harness.services.script(FIRST.name, lose_reply, fail, fail, fail, refuse)
    end = await harness.run(RetryWorkflow)
    assert (end.code, end.log.state) == (SOLD_OUT, State.ROLLED_BACK)
    assert harness.services.undone == [step.undo.name for step in (LAST, FIRST) if step.undo]


async def test_a_saga_without_a_pivot_cannot_be_cancelled_once_it_is_confirmed(harness: Harness) -> None:
    handle = await harness.start(DirectWorkflow, deadline=timedelta(minutes=1))
    await harness.until_known(handle, [FIRST.name])
    with pytest.raises(WorkflowUpdateFailedError):
        await by_business(handle)
    end = await harness.end(handle)
    assert (end.code, end.log.state) == (None, State.CONFIRMED)


@pytest.mark.parametrize("cancel", [by_business, by_temporal])
async def test_a_cancel_during_a_best_effort_call_stops_the_saga_after_it(harness: Harness, cancel: Cancel) -> None:
    handle, gate = await harness.stop_at(BEST_EFFORT.name, DirectWorkflow)
    await cancel(handle)
    gate.open.set()
    end = await harness.end(handle)
    assert (end.code, end.log.state) == ("CANCELLED", State.ROLLED_BACK)
    assert harness.services.calls == [BEST_EFFORT.name]


@pytest.mark.parametrize(
    ("trouble", "outcome"), [(refuse, f"Refused {SOLD_OUT} 1"), (fail, f"Unknown {SERVICE_UNAVAILABLE} 1")]
)
async def test_a_failed_local_call_has_the_same_outcome_as_a_regular_one(
    harness: Harness, trouble: Behaviour, outcome: str
) -> None:
    harness.services.script(PIVOT.name, then=trouble)
    found = await harness.server.client.execute_workflow(
        LocalCallWorkflow.run, Trip("local"), id=f"local-{harness.queue}", task_queue=harness.queue
    )
    assert found == [f"ActivityError: {outcome}", f"ApplicationError: {outcome}"]
