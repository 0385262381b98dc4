"""Cancels by the business and by Temporal: between two steps, twice, during the rollback, and too late."""

import pytest
from temporalio.client import WithStartWorkflowOperation, WorkflowUpdateFailedError
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.exceptions import ApplicationError

from temporal_saga import CANCEL_REFUSED, State, Status
from temporal_saga.outcome import CANCELLED

from . import expect
from .cancels import REASON, Cancel, both_cancels, by_business, by_temporal
from .harness import Harness, both_orders
from .plan import FINISHES, PIVOT, ROLLBACK_CALL, STEPS, UNDOS
from .services import Effect, refuse
from .workflows import BodyAction, Trip, TripWorkflow


@both_cancels
async def test_a_cancel_between_two_steps_undoes_what_was_done(harness: Harness, cancel: Cancel) -> None:
    handle = await harness.start(actions={STEPS[-1].name: BodyAction.SLEEP})
    await harness.until_known(handle, [step.name for step in STEPS[:-1]])
    await cancel(handle)
    end = await harness.end(handle)
    expect.rolled_back(harness, end, CANCELLED)
    assert end.message == REASON


@both_orders
@pytest.mark.parametrize("cancels", [(by_business, by_business), (by_temporal, by_business)])
async def test_cancelling_twice_is_cancelling_once(harness: Harness, cancels: tuple[Cancel, Cancel]) -> None:
    step = STEPS[-1].name
    handle, _ = await harness.stop_at(step)
    first_undo = harness.services.gate(UNDOS[-1].name)
    await cancels[0](handle)
    await first_undo.reached.wait()
    await cancels[1](handle)
    first_undo.open.set()
    end = await harness.end(handle)
    expect.rolled_back(harness, end, CANCELLED)


@both_orders
@both_cancels
@pytest.mark.parametrize("undo", [UNDOS[-1].name])
async def test_a_cancel_does_not_disturb_the_unwinding(harness: Harness, undo: str, cancel: Cancel) -> None:
    harness.services.script(PIVOT.name, then=refuse)
    gate = harness.services.gate(undo)
    handle = await harness.start()
    await gate.reached.wait()
    await cancel(handle)
    assert (await harness.log(handle)).state is State.COMPENSATING
    gate.open.set()
    end = await harness.end(handle)
    expect.rolled_back(harness, end, "SOLD_OUT", step=PIVOT.name)


@pytest.mark.parametrize("operation", [PIVOT.name, FINISHES[0].name])
async def test_the_business_cannot_cancel_from_the_pivot_on(harness: Harness, operation: str) -> None:
    handle, gate = await harness.stop_at(operation)
    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await by_business(handle)
    assert isinstance(refused.value.cause, ApplicationError)
    assert refused.value.cause.type == CANCEL_REFUSED
    gate.open.set()
    expect.confirmed(harness, await harness.end(handle))


@both_orders
@pytest.mark.parametrize("operation", [PIVOT.name])
async def test_a_native_cancel_from_the_pivot_on_is_survived(harness: Harness, operation: str) -> None:
    handle, gate = await harness.stop_at(operation)
    await by_temporal(handle)
    await harness.until_known(handle)
    gate.open.set()
    expect.confirmed(harness, await harness.end(handle))


async def test_a_pivot_refused_after_a_native_cancel_rolls_back(harness: Harness) -> None:
    handle, gate = await harness.stop_at(PIVOT.name)
    harness.services.script(PIVOT.name, then=refuse)
    await by_temporal(handle)
    await harness.until_known(handle)
    harness.services.effects[handle.id, PIVOT.name] = Effect.TOMBSTONE  # the fence says no to the call at the gate
    gate.open.set()
    end = await harness.end(handle)
    expect.rolled_back(harness, end, CANCELLED)
    assert expect.entry_of(end, PIVOT.name).status is Status.REFUSED


@both_orders
async def test_a_cancel_that_comes_before_the_first_step_is_not_lost(harness: Harness) -> None:
    """The cancel comes with the start, in one workflow task, where Temporal runs updates before the workflow's code."""
    start = WithStartWorkflowOperation(
        TripWorkflow.run,
        Trip("early"),
        id=f"early-{harness.queue}",
        task_queue=harness.queue,
        id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
    )
    client = harness.server.client
    await client.execute_update_with_start_workflow("cancel_saga", REASON, start_workflow_operation=start)
    handle = await start.workflow_handle()
    end = await harness.end(handle)
    expect.rolled_back(harness, end, CANCELLED)
    assert harness.services.calls == [ROLLBACK_CALL.name]
