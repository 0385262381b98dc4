"""Cancelling: at every step, twice, during the unwinding, and too late."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from temporalio.client import WithStartWorkflowOperation, WorkflowUpdateFailedError
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.exceptions import ApplicationError

from saga import State, Status
from saga.outcome import CANCELLED

from . import expect
from .agency import Agency, Handle, both_orders
from .plan import COURTESY, FAREWELL, FINISHES, PIVOT, PLAN, STEPS, UNDOS, branches, unwinding_from, unwinding_of_all
from .workflows import TOO_LATE, Trip, TripWorkflow, Whim
from .world import Effect, refuse

Cancel = Callable[[Handle], Awaitable[None]]
REASON = "the children are ill"


async def by_business(handle: Handle) -> None:
    await handle.execute_update("cancel", REASON)


async def by_temporal(handle: Handle) -> None:
    await handle.cancel(reason=REASON)


every_step = pytest.mark.parametrize("step", [step.name for step in STEPS])
every_promise = pytest.mark.parametrize("operation", [PIVOT.name, *(finish.name for finish in FINISHES)])
both_ways = pytest.mark.parametrize("cancel", [by_business, by_temporal])


@both_ways
@every_step
async def test_a_cancel_stops_the_step_that_runs_and_undoes_it(agency: Agency, step: str, cancel: Cancel) -> None:
    handle, gate = await agency.stop_at(step)
    await cancel(handle)
    end = await agency.end(handle)
    expect.rolled_back_from(agency, end, step, CANCELLED, undone_too=True, blamed=False)
    assert end.message == REASON
    assert expect.entry_of(end, step).status is Status.UNKNOWN

    gate.open.set()
    await gate.left.wait()
    assert step not in agency.world.of(Effect.HELD), "the call that was given up wakes too late to hold anything"


@both_ways
@pytest.mark.parametrize("place", range(len(PLAN)))
async def test_a_cancel_between_two_steps_undoes_what_was_done(agency: Agency, place: int, cancel: Cancel) -> None:
    whims = {branches(PLAN[place])[0][0].name: Whim.NAP}
    handle = await agency.start(whims=whims)
    before = [step.name for part in PLAN[:place] for branch in branches(part) for step in branch]
    await agency.until_known(handle, before)
    await cancel(handle)
    end = await agency.end(handle)
    expect.rolled_back(agency, end, CANCELLED, unwinding_of_all()[len(PLAN) - place :])


@both_orders
@pytest.mark.parametrize(
    "cancels", [(by_business, by_business), (by_business, by_temporal), (by_temporal, by_business)]
)
async def test_cancelling_twice_is_cancelling_once(agency: Agency, cancels: tuple[Cancel, Cancel]) -> None:
    step = STEPS[-1].name
    handle, _ = await agency.stop_at(step)
    first_undo = agency.world.gate(unwinding_from(step, undone_too=True)[0][0][0])
    await cancels[0](handle)
    await first_undo.reached.wait()
    await cancels[1](handle)
    first_undo.open.set()
    end = await agency.end(handle)
    expect.rolled_back_from(agency, end, step, CANCELLED, undone_too=True, blamed=False)


@both_orders
@both_ways
@pytest.mark.parametrize("undo", [undo.name for undo in UNDOS])
async def test_a_cancel_does_not_disturb_the_unwinding(agency: Agency, undo: str, cancel: Cancel) -> None:
    agency.world.script(PIVOT.name, then=refuse)
    gate = agency.world.gate(undo)
    handle = await agency.start()
    await gate.reached.wait()
    await cancel(handle)
    assert (await agency.log(handle)).state is State.COMPENSATING
    gate.open.set()
    end = await agency.end(handle)
    expect.rolled_back(agency, end, "SOLD_OUT", unwinding_of_all(), step=PIVOT.name)


@every_promise
async def test_the_business_cannot_cancel_from_the_pivot_on(agency: Agency, operation: str) -> None:
    handle, gate = await agency.stop_at(operation)
    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await by_business(handle)
    assert isinstance(refused.value.cause, ApplicationError)
    assert refused.value.cause.type == TOO_LATE
    gate.open.set()
    expect.confirmed(agency, await agency.end(handle))


@both_orders
@pytest.mark.parametrize("operation", [PIVOT.name, *(finish.name for finish in FINISHES), COURTESY.name])
async def test_a_native_cancel_from_the_pivot_on_is_survived(agency: Agency, operation: str) -> None:
    handle, gate = await agency.stop_at(operation)
    await by_temporal(handle)
    await agency.until_known(handle)
    gate.open.set()
    expect.confirmed(agency, await agency.end(handle))


async def test_a_pivot_refused_after_a_native_cancel_rolls_back(agency: Agency) -> None:
    handle, gate = await agency.stop_at(PIVOT.name)
    agency.world.script(PIVOT.name, then=refuse)
    await by_temporal(handle)
    await agency.until_known(handle)
    agency.world.effects[handle.id, PIVOT.name] = Effect.TOMBSTONE  # the fence says no to the call at the gate
    gate.open.set()
    end = await agency.end(handle)
    expect.rolled_back(agency, end, CANCELLED, unwinding_of_all())
    assert expect.entry_of(end, PIVOT.name).status is Status.REFUSED


@both_orders
async def test_a_cancel_that_comes_before_the_first_step_is_not_lost(agency: Agency) -> None:
    """It comes with the start, in one workflow task, where Temporal runs it before the workflow's own code."""
    start = WithStartWorkflowOperation(
        TripWorkflow.run,
        Trip("early"),
        id=f"early-{agency.queue}",
        task_queue=agency.queue,
        id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
    )
    client = agency.server.client
    await client.execute_update_with_start_workflow("cancel", REASON, start_workflow_operation=start)
    handle = await start.workflow_handle()
    end = await agency.end(handle)
    expect.rolled_back(agency, end, CANCELLED, [])
    assert agency.world.calls == [FAREWELL.name]
