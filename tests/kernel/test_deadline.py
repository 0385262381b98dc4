"""The deadline bounds the phase before the pivot, and nothing else."""

from datetime import datetime, timedelta

import pytest
from temporalio.client import WithStartWorkflowOperation, WorkflowUpdateFailedError
from temporalio.common import WorkflowIDConflictPolicy

from temporal_saga import DEADLINE_EXCEEDED, DEADLINE_REFUSED, MoveDeadline, State

from . import expect
from .harness import Handle, Harness, both_orders
from .plan import FINISHES, PIVOT, STEPS, UNDOS
from .policies import MINUTE
from .services import Effect, fail, refuse
from .workflows import BodyAction, SecondPivotWorkflow, Trip, TripWorkflow

PLAN_LAST = STEPS[-1].name


async def test_the_deadline_stops_the_workflow_between_two_steps(harness: Harness) -> None:
    end = await harness.run(deadline=MINUTE, actions={PLAN_LAST: BodyAction.SLEEP})
    expect.rolled_back(harness, end, DEADLINE_EXCEEDED)
    assert end.message == "not confirmed within 60 s"


@both_orders
async def test_the_deadline_just_before_the_pivot_rolls_back(harness: Harness) -> None:
    end = await harness.run(deadline=MINUTE, actions={PIVOT.name: BodyAction.SLEEP})
    expect.rolled_back(harness, end, DEADLINE_EXCEEDED)


async def test_a_deadline_of_nothing_rolls_back(harness: Harness) -> None:
    end = await harness.run(deadline=timedelta(0), actions={STEPS[0].name: BodyAction.SLEEP})
    expect.rolled_back(harness, end, DEADLINE_EXCEEDED)


@pytest.mark.parametrize("operation", [PIVOT.name, FINISHES[0].name])
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


async def moved(handle: Handle, by: timedelta) -> MoveDeadline:
    """Have the deadline of a trip that has begun moved to `by` after its begin."""
    started = (await handle.describe()).start_time
    move = MoveDeadline("ann", "the customer waits", started + by)
    await handle.execute_update("move_deadline", move)
    return move


async def refusal(handle: Handle, until: datetime) -> str:
    with pytest.raises(WorkflowUpdateFailedError) as no:
        await handle.execute_update("move_deadline", MoveDeadline("ann", "she waits", until))
    assert getattr(no.value.cause, "type", None) == DEADLINE_REFUSED
    return str(no.value.cause)


async def test_a_deadline_that_is_moved_gives_the_saga_the_time_and_is_in_its_log(harness: Harness) -> None:
    actions = {PLAN_LAST: BodyAction.SLEEP}
    handle = await harness.start(deadline=MINUTE, actions=actions)
    await harness.until_known(handle, [STEPS[0].name])
    move = await moved(handle, timedelta(hours=2))
    end = await harness.end(handle)
    expect.confirmed(harness, end)
    [kept] = end.log.moved_deadlines
    assert (kept.actor, kept.reason, kept.until) == (move.actor, move.reason, move.until)
    assert kept.at < move.until


@pytest.mark.parametrize("first", [None, timedelta(hours=12)])
async def test_a_deadline_that_is_moved_stops_the_saga_earlier(harness: Harness, first: timedelta | None) -> None:
    """A saga without a deadline gets its first one so."""
    handle = await harness.start(deadline=first, actions={PLAN_LAST: BodyAction.SLEEP})
    await harness.until_known(handle, [STEPS[0].name])
    await moved(handle, timedelta(minutes=10))
    end = await harness.end(handle)
    expect.rolled_back(harness, end, DEADLINE_EXCEEDED)
    assert end.message.startswith(("not confirmed within 599.", "not confirmed within 600"))


async def test_a_deadline_may_be_moved_before_the_saga_begins(harness: Harness) -> None:
    """An update that starts the workflow runs before it."""
    client = harness.server.client
    start = WithStartWorkflowOperation(
        TripWorkflow.run,
        Trip("moved", deadline=MINUTE, actions={PLAN_LAST: BodyAction.SLEEP}),
        id=f"moved-{harness.queue}",
        task_queue=harness.queue,
        id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
    )
    until = await harness.server.get_current_time() + timedelta(hours=2)
    move = MoveDeadline("ann", "she waits", until)
    await client.execute_update_with_start_workflow("move_deadline", move, start_workflow_operation=start)
    await harness.later(timedelta(minutes=61))  # the handle of such a start does not skip time
    expect.confirmed(harness, await harness.end(await start.workflow_handle()))


async def test_a_deadline_is_not_moved_to_a_time_that_is_past_or_has_no_zone(harness: Harness) -> None:
    handle, gate = await harness.stop_at(PLAN_LAST, deadline=MINUTE)
    now = (await handle.describe()).start_time
    assert "is past" in await refusal(handle, now)
    later = (now + timedelta(hours=1)).replace(tzinfo=None)
    assert f"{later.isoformat()} has no time zone" in await refusal(handle, later)
    assert (await harness.log(handle)).moved_deadlines == ()
    gate.open.set()
    expect.confirmed(harness, await harness.end(handle))


@pytest.mark.parametrize("operation", [PIVOT.name, FINISHES[0].name, UNDOS[-1].name])
async def test_a_deadline_is_not_moved_from_the_pivot_on_nor_in_a_rollback(harness: Harness, operation: str) -> None:
    if operation == UNDOS[-1].name:
        harness.services.script(PIVOT.name, then=refuse)
    gate = harness.services.gate(operation)
    handle = await harness.start(deadline=timedelta(hours=1))
    await gate.reached.wait()
    until = (await handle.describe()).start_time + timedelta(hours=2)
    why = "being rolled back" if operation == UNDOS[-1].name else "the pivot has been reached"
    assert why in await refusal(handle, until)
    gate.open.set()
    await harness.end(handle)
