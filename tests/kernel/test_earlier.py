"""A saga takes into account what another execution of it has done, undone or decided."""

from datetime import timedelta

import pytest
from temporalio.client import WithStartWorkflowOperation, WorkflowUpdateFailedError
from temporalio.common import WorkflowIDConflictPolicy

from temporal_saga import POLICIES, CallKind, Policies, State, Status, TransactionLog
from temporal_saga.outcome import CANCELLED, IDEMPOTENCY_CONFLICT, SERVICE_UNAVAILABLE, STEP_UNDONE
from tests.gate import Gate
from tests.resets import reset

from . import expect
from .cancels import by_business, by_temporal
from .harness import Harness, failed_task, real_server
from .plan import FINISHES, PIVOT, ROLLBACK_CALL, STEPS, UNDOS
from .services import SOLD_OUT, Effect, behind, conflict, fail, refuse, work
from .workflows import ForeseeingWorkflow, RecoveringWorkflow, Trip

FIRST, MIDDLE, LAST = STEPS[0].name, STEPS[3].name, STEPS[-1].name
HELD = {step.name for step in STEPS if step.undo is not None}


@pytest.mark.parametrize("step", [FIRST, MIDDLE, LAST])
async def test_a_step_that_was_undone_before_has_all_that_is_foreseen_undone(harness: Harness, step: str) -> None:
    """This holds too where the workflow catches the failure, as it does for the last step."""
    gate = harness.services.gate(step)
    handle = await harness.start(ForeseeingWorkflow)
    await gate.reached.wait()
    harness.services.effects |= {(handle.id, name): Effect.HELD for name in HELD} | {(handle.id, step): Effect.UNDONE}
    gate.open.set()
    end = await harness.end(handle)
    assert (end.code, end.log.state) == (STEP_UNDONE, State.ROLLED_BACK)
    assert {entry.step for entry in end.log.steps if entry.kind is CallKind.UNDO} == {undo.name for undo in UNDOS}
    assert harness.services.of(Effect.HELD) == {ROLLBACK_CALL.name}, "nothing is held, and the rollback call is made"


async def test_what_another_execution_holds_stays_parked_until_its_undo_gets_through(harness: Harness) -> None:
    harness.services.script("hotel.release", then=fail)
    handle, gate = await harness.stop_at(FIRST, ForeseeingWorkflow)
    harness.services.effects |= {(handle.id, FIRST): Effect.UNDONE, (handle.id, "hotel.hold"): Effect.HELD}
    gate.open.set()
    await harness.later(timedelta(hours=1))
    log = await harness.log(handle)
    assert {entry.step for entry in log.steps if entry.status is Status.PARKED} == {"hotel.release"}
    harness.services.script("hotel.release", then=work)
    assert (await harness.end(handle)).log.state is State.ROLLED_BACK
    assert harness.services.of(Effect.HELD) == {ROLLBACK_CALL.name}


async def test_a_saga_that_foresees_nothing_does_not_claim_to_be_rolled_back(harness: Harness) -> None:
    handle, gate = await harness.stop_at(FIRST)
    harness.services.effects[handle.id, FIRST] = Effect.UNDONE
    gate.open.set()
    assert "Saga.foresee" in await failed_task(handle)
    await handle.terminate()


async def test_a_refused_step_has_undone_what_was_begun_and_no_more(harness: Harness) -> None:
    harness.services.script(MIDDLE, then=refuse)
    end = await harness.run(ForeseeingWorkflow)
    assert (end.code, end.log.state) == (SOLD_OUT, State.ROLLED_BACK)
    assert harness.services.undone == [step.undo.name for step in reversed(STEPS[:3]) if step.undo]


async def test_a_resumed_saga_gives_no_step_up_before_it_knows_whether_it_was_decided(harness: Harness) -> None:
    harness.services.script(MIDDLE, then=fail)
    handle = await harness.start(ForeseeingWorkflow, resumed=True, deadline=timedelta(minutes=1))
    await harness.later(timedelta(hours=1))
    log = await harness.log(handle)
    assert (log.state, log.steps[-1].step, log.steps[-1].error_code) == (State.PARKED, MIDDLE, SERVICE_UNAVAILABLE)
    with pytest.raises(WorkflowUpdateFailedError):
        await by_business(handle)
    await by_temporal(handle)
    await harness.until_known(handle)
    harness.services.script(MIDDLE, then=work)
    end = await harness.end(handle)
    assert (end.code, end.log.state) == (None, State.CONFIRMED)
    assert harness.services.undone == []


async def test_a_resumed_saga_is_rolled_back_as_a_whole_when_a_step_is_refused(harness: Harness) -> None:
    """A refusal of a step before the pivot proves that no execution has come as far as that."""
    harness.services.script(MIDDLE, fail, fail, fail, fail, fail, then=refuse)
    end = await harness.run(ForeseeingWorkflow, resumed=True)
    assert (end.code, end.log.state) == (SOLD_OUT, State.ROLLED_BACK)
    assert set(harness.services.undone) == {undo.name for undo in UNDOS}


@pytest.mark.parametrize("operation", [MIDDLE, PIVOT.name])
async def test_a_conflict_does_not_tell_a_resumed_saga_that_it_was_not_decided(
    harness: Harness, operation: str
) -> None:
    harness.services.script(operation, conflict)
    handle = await harness.start(ForeseeingWorkflow, resumed=True)
    end = await harness.end(handle)
    assert (end.code, end.log.state) == (None, State.CONFIRMED)
    assert expect.entry_of(end, operation).parked_since is not None


async def test_a_conflict_does_not_tell_a_saga_that_was_reset_while_its_pivot_ran_that_it_was_not_decided(
    idle_harness: Harness, embedded: str
) -> None:
    idle_harness.server = await real_server(embedded)
    held = Gate()
    idle_harness.services.script(PIVOT.name, behind(held), conflict)
    async with idle_harness.worker():
        first = await idle_harness.start(ForeseeingWorkflow)
        await held.reached.wait()
        await first.signal("news")  # for another workflow task while the pivot runs
        await idle_harness.until_known(first)
        client = idle_harness.server.client
        await reset(client, first, to_task=-1)
        again = client.get_workflow_handle(first.id, result_type=TransactionLog)
        await idle_harness.until_step(again, PIVOT.name, Status.PARKED)
        await again.execute_update("desk_retry", PIVOT.name)
        held.open.set()
        end = await idle_harness.end(again)
    assert (end.code, end.log.state) == (None, State.CONFIRMED)


async def test_a_resumed_pivot_that_is_refused_rolls_back(harness: Harness) -> None:
    harness.services.script(PIVOT.name, then=refuse)
    end = await harness.run(ForeseeingWorkflow, resumed=True)
    assert (end.code, end.log.state) == (SOLD_OUT, State.ROLLED_BACK)
    assert harness.services.of(Effect.HELD) == {ROLLBACK_CALL.name}


@pytest.mark.parametrize(("policies", "left"), [(POLICIES.colocated(), set()), (POLICIES, {LAST})])
async def test_a_colocated_saga_undoes_what_a_worker_that_is_thought_dead_did_beyond_its_history(
    harness: Harness, policies: Policies, left: set[str]
) -> None:
    """Any other saga has its steps in its history before they are made."""
    harness.services.script(MIDDLE, then=refuse)
    harness.services.script(LAST, then=work)
    opening = harness.services.gate(FIRST)
    handle = await harness.start(ForeseeingWorkflow, policies=policies)
    await opening.reached.wait()
    harness.services.effects[handle.id, LAST] = Effect.HELD
    opening.open.set()
    end = await harness.end(handle)
    assert (end.code, end.log.state) == (SOLD_OUT, State.ROLLED_BACK)
    assert harness.services.of(Effect.HELD) - {ROLLBACK_CALL.name} == left


async def test_a_colocated_saga_that_is_stopped_in_its_first_step_undoes_what_a_worker_did_beyond_it(
    harness: Harness,
) -> None:
    """The reply may have come together with the cancel or the deadline, and a worker have gone on from it and died."""
    opening = harness.services.gate(FIRST)
    handle = await harness.start(ForeseeingWorkflow, policies=POLICIES.colocated())
    await opening.reached.wait()
    harness.services.effects[handle.id, LAST] = Effect.HELD
    await by_business(handle)
    opening.open.set()
    end = await harness.end(handle)
    assert (end.code, end.log.state) == (CANCELLED, State.ROLLED_BACK)
    assert harness.services.of(Effect.HELD) == {ROLLBACK_CALL.name}


async def test_a_cancel_before_a_recovery_that_finds_the_saga_confirmed_has_no_effect(harness: Harness) -> None:
    harness.services.script(PIVOT.name, then=refuse)
    start = WithStartWorkflowOperation(
        RecoveringWorkflow.run,
        Trip("taken-over"),
        id=f"taken-over-{harness.queue}",
        task_queue=harness.queue,
        id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
    )
    client = harness.server.client
    await client.execute_update_with_start_workflow("cancel_saga", "too late", start_workflow_operation=start)
    end = await harness.end(await start.workflow_handle())
    assert (end.code, end.log.state) == (None, State.CONFIRMED)
    assert harness.services.of(Effect.HELD) == {FINISHES[0].name}


async def test_a_conflict_at_the_opening_step_undoes_nothing(harness: Harness) -> None:
    harness.services.script(FIRST, then=conflict)
    end = await harness.run(ForeseeingWorkflow)
    assert (end.code, end.log.state) == (IDEMPOTENCY_CONFLICT, State.ROLLED_BACK)
    assert harness.services.undone == []
