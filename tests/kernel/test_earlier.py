"""What another execution of the same saga has done, undone or decided is not forgotten by this one."""

from __future__ import annotations

from datetime import timedelta

import pytest
from temporalio.client import WithStartWorkflowOperation, WorkflowUpdateFailedError
from temporalio.common import WorkflowIDConflictPolicy

from saga import POLICIES, CallKind, Policies, State, Status
from saga.outcome import IDEMPOTENCY_CONFLICT, SERVICE_UNAVAILABLE, STEP_UNDONE

from . import expect
from .agency import Agency
from .plan import FAREWELL, FINISHES, PIVOT, STEPS, UNDOS
from .test_body import failed_task
from .test_cancel import by_business, by_temporal
from .workflows import ForeseeingWorkflow, TakeoverWorkflow, Trip, TripWorkflow
from .world import SOLD_OUT, Effect, conflict, fail, refuse, work

FIRST, MIDDLE, LAST = STEPS[0].name, STEPS[3].name, STEPS[-1].name
HELD = {step.name for step in STEPS if step.undo is not None}


@pytest.fixture
def workflows() -> tuple[type, ...]:
    return (TripWorkflow, ForeseeingWorkflow, TakeoverWorkflow)


@pytest.mark.parametrize("step", [FIRST, MIDDLE, LAST])
async def test_a_step_that_was_undone_before_has_all_that_is_foreseen_undone(agency: Agency, step: str) -> None:
    """Also where the workflow catches that failure, as it does for the last step."""
    gate = agency.world.gate(step)
    handle = await agency.start(ForeseeingWorkflow)
    await gate.reached.wait()
    agency.world.effects |= {(handle.id, name): Effect.HELD for name in HELD} | {(handle.id, step): Effect.UNDONE}
    gate.open.set()
    end = await agency.end(handle)
    assert (end.code, end.log.state) == (STEP_UNDONE, State.ROLLED_BACK)
    assert {entry.step for entry in end.log.steps if entry.kind is CallKind.UNDO} == {undo.name for undo in UNDOS}
    assert agency.world.of(Effect.HELD) == {FAREWELL.name}, "nothing is held, and the traveller is told"


async def test_what_another_execution_holds_stays_parked_until_its_undo_gets_through(agency: Agency) -> None:
    agency.world.script("hotel.release", then=fail)
    handle, gate = await agency.stop_at(FIRST, ForeseeingWorkflow)
    agency.world.effects |= {(handle.id, FIRST): Effect.UNDONE, (handle.id, "hotel.hold"): Effect.HELD}
    gate.open.set()
    await agency.later(timedelta(hours=1))
    log = await agency.log(handle)
    assert {entry.step for entry in log.steps if entry.status is Status.PARKED} == {"hotel.release"}
    agency.world.script("hotel.release", then=work)
    assert (await agency.end(handle)).log.state is State.ROLLED_BACK
    assert agency.world.of(Effect.HELD) == {FAREWELL.name}


async def test_a_saga_that_foresees_nothing_does_not_claim_to_be_rolled_back(agency: Agency) -> None:
    handle, gate = await agency.stop_at(FIRST)
    agency.world.effects[handle.id, FIRST] = Effect.UNDONE
    gate.open.set()
    assert "Saga.foresee" in await failed_task(handle)
    await handle.terminate()


async def test_a_refused_step_has_undone_what_was_begun_and_no_more(agency: Agency) -> None:
    agency.world.script(MIDDLE, then=refuse)
    end = await agency.run(ForeseeingWorkflow)
    assert (end.code, end.log.state) == (SOLD_OUT, State.ROLLED_BACK)
    assert agency.world.undone == [step.undo.name for step in reversed(STEPS[:3]) if step.undo]


async def test_a_resumed_saga_gives_no_step_up_before_it_knows_whether_it_was_decided(agency: Agency) -> None:
    agency.world.script(MIDDLE, then=fail)
    handle = await agency.start(ForeseeingWorkflow, resumed=True, deadline=timedelta(minutes=1))
    await agency.later(timedelta(hours=1))
    log = await agency.log(handle)
    assert (log.state, log.steps[-1].step, log.steps[-1].error_code) == (State.PARKED, MIDDLE, SERVICE_UNAVAILABLE)
    with pytest.raises(WorkflowUpdateFailedError):
        await by_business(handle)
    await by_temporal(handle)
    await agency.until_known(handle)
    agency.world.script(MIDDLE, then=work)
    end = await agency.end(handle)
    assert (end.code, end.log.state) == (None, State.CONFIRMED)
    assert agency.world.undone == []


async def test_a_resumed_saga_is_rolled_back_as_a_whole_when_a_step_is_refused(agency: Agency) -> None:
    """A refusal of a step before the pivot proves that no execution has come as far as that."""
    agency.world.script(MIDDLE, fail, fail, fail, fail, fail, then=refuse)
    end = await agency.run(ForeseeingWorkflow, resumed=True)
    assert (end.code, end.log.state) == (SOLD_OUT, State.ROLLED_BACK)
    assert set(agency.world.undone) == {undo.name for undo in UNDOS}


@pytest.mark.parametrize("operation", [MIDDLE, PIVOT.name])
async def test_a_conflict_does_not_tell_a_resumed_saga_that_it_was_not_decided(agency: Agency, operation: str) -> None:
    agency.world.script(operation, conflict)
    handle = await agency.start(ForeseeingWorkflow, resumed=True)
    end = await agency.end(handle)
    assert (end.code, end.log.state) == (None, State.CONFIRMED)
    assert expect.entry_of(end, operation).parked_since is not None


async def test_a_resumed_pivot_that_is_refused_rolls_back(agency: Agency) -> None:
    agency.world.script(PIVOT.name, then=refuse)
    end = await agency.run(ForeseeingWorkflow, resumed=True)
    assert (end.code, end.log.state) == (SOLD_OUT, State.ROLLED_BACK)
    assert agency.world.of(Effect.HELD) == {FAREWELL.name}


@pytest.mark.parametrize(("policies", "left"), [(POLICIES.colocated(), set()), (POLICIES, {LAST})])
async def test_a_colocated_saga_undoes_what_a_worker_that_is_thought_dead_did_beyond_its_history(
    agency: Agency, policies: Policies, left: set[str]
) -> None:
    """Any other saga has its steps in its history before they are made."""
    agency.world.script(MIDDLE, then=refuse)
    agency.world.script(LAST, then=work)
    opening = agency.world.gate(FIRST)
    handle = await agency.start(ForeseeingWorkflow, policies=policies)
    await opening.reached.wait()
    agency.world.effects[handle.id, LAST] = Effect.HELD
    opening.open.set()
    end = await agency.end(handle)
    assert (end.code, end.log.state) == (SOLD_OUT, State.ROLLED_BACK)
    assert agency.world.of(Effect.HELD) - {FAREWELL.name} == left


async def test_a_cancel_that_comes_before_a_takeover_finds_the_saga_confirmed_is_forgotten(agency: Agency) -> None:
    agency.world.script(PIVOT.name, then=refuse)
    start = WithStartWorkflowOperation(
        TakeoverWorkflow.run,
        Trip("taken-over"),
        id=f"taken-over-{agency.queue}",
        task_queue=agency.queue,
        id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
    )
    client = agency.server.client
    await client.execute_update_with_start_workflow("cancel", "too late", start_workflow_operation=start)
    end = await agency.end(await start.workflow_handle())
    assert (end.code, end.log.state) == (None, State.CONFIRMED)
    assert agency.world.of(Effect.HELD) == {FINISHES[0].name}


async def test_a_conflict_at_the_opening_step_undoes_nothing(agency: Agency) -> None:
    agency.world.script(FIRST, then=conflict)
    end = await agency.run(ForeseeingWorkflow)
    assert (end.code, end.log.state) == (IDEMPOTENCY_CONFLICT, State.ROLLED_BACK)
    assert agency.world.undone == []
