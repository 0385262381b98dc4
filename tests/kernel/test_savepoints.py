"""Savepoints: a workflow undoes what it has begun since one, and goes another way."""

from datetime import timedelta

import pytest

from temporal_saga import CallKind, Plan, State, Status
from temporal_saga.outcome import CANCELLED, STEP_UNDONE

from .cancels import Cancel, both_cancels
from .expect import entry_of, in_order, nothing_is_open
from .harness import End, Harness, both_orders, failed_task
from .plan import PIVOT
from .policies import COLOCATED
from .services import SOLD_OUT, Effect, fail, lose_reply, refuse, work
from .ways import (
    CAR,
    FIRST,
    HOTEL,
    MUSEUM,
    BranchSavepointWorkflow,
    LateSavepointWorkflow,
    OtherBranchSavepointWorkflow,
    ResumedSavepointWorkflow,
    SavepointWorkflow,
    SecondTryWorkflow,
    UndoneSavepointWorkflow,
)

JOURNEY = [["flight.release"], ["transfer.release", "hotel.release"]]
"""The undos of the group, whose branches are undone side by side."""


def undos_of(end: End) -> list[str]:
    return [entry.step for entry in end.log.steps if entry.kind is CallKind.UNDO]


async def test_what_was_begun_since_a_savepoint_is_undone_in_reverse_and_groups_together(harness: Harness) -> None:
    harness.services.script(CAR.name, then=refuse)
    end = await harness.run(SavepointWorkflow)
    assert (end.code, end.log.state, end.log.error) == (None, State.CONFIRMED, None)
    assert in_order(harness.services.undone, [JOURNEY])
    assert harness.services.of(Effect.HELD) == {FIRST.name, MUSEUM.name, PIVOT.name}
    assert {entry.note for entry in end.log.steps if entry.kind is CallKind.UNDO} == {"undone to the savepoint journey"}
    assert {entry.note for entry in end.log.steps if entry.kind is not CallKind.UNDO} == {None}
    nothing_is_open(end)


async def test_a_workflow_that_needs_no_other_way_undoes_nothing(harness: Harness) -> None:
    end = await harness.run(SavepointWorkflow)
    assert (end.code, end.log.state, undos_of(end)) == (None, State.CONFIRMED, [])


async def test_a_rollback_after_the_other_way_undoes_each_step_once(harness: Harness) -> None:
    harness.services.script(CAR.name, then=refuse)
    harness.services.script(PIVOT.name, then=refuse)
    end = await harness.run(SavepointWorkflow)
    assert (end.code, end.log.state) == (SOLD_OUT, State.ROLLED_BACK)
    assert in_order(harness.services.undone, [JOURNEY, [["museum.release"]], [["trip.close"]]])
    assert sorted(undos_of(end)) == sorted(harness.services.undone)
    assert harness.services.of(Effect.HELD) == set()


@pytest.mark.parametrize("pivot", [work, refuse])
async def test_a_step_of_unknown_outcome_since_a_savepoint_is_undone_once(harness: Harness, pivot: object) -> None:
    """A confirmed saga undoes steps of unknown outcome at its end, where no savepoint has undone them before."""
    harness.services.script(CAR.name, lose_reply, then=fail)
    harness.services.script(PIVOT.name, then=pivot)  # type: ignore[arg-type]  # one of two behaviours
    end = await harness.run(SavepointWorkflow)
    assert entry_of(end, CAR.name).status is Status.UNKNOWN
    assert undos_of(end).count("car.release") == 1
    assert not [entry for entry in end.log.steps if entry.kind is CallKind.UNDO and "#" in entry.step]
    assert "car.hold" not in harness.services.of(Effect.HELD)


async def test_an_undo_to_a_savepoint_that_parks_holds_up_neither_the_others_nor_the_workflow(harness: Harness) -> None:
    harness.services.script(CAR.name, then=refuse)
    harness.services.script("transfer.release", then=fail)
    handle = await harness.start(SavepointWorkflow)
    await harness.later(timedelta(hours=2))
    log = await harness.log(handle)
    assert log.state is State.PARKED
    status = {entry.step: entry.status for entry in log.steps}
    assert status["transfer.release"] is Status.PARKED
    others = {"hotel.release", "flight.release", MUSEUM.name, PIVOT.name}
    assert {status[step] for step in others} == {Status.DONE}
    harness.services.script("transfer.release", then=work)
    end = await harness.end(handle)
    assert (end.code, end.log.state) == (None, State.CONFIRMED), "and not before it is done"
    assert harness.services.of(Effect.HELD) == {FIRST.name, MUSEUM.name, PIVOT.name}


async def test_the_same_step_after_its_undo_is_refused_and_tells_of_no_other_execution(harness: Harness) -> None:
    harness.services.script(CAR.name, fail, fail, fail, fail)
    end = await harness.run(SecondTryWorkflow)
    assert (end.code, end.log.state) == (None, State.CONFIRMED)
    second = entry_of(end, "car.hold#2")
    assert (second.status, second.error_code) == (Status.REFUSED, STEP_UNDONE)
    assert harness.services.of(Effect.HELD) == {FIRST.name, PIVOT.name}, "the second way back undoes the museum"
    assert sorted(undos_of(end)) == sorted(harness.services.undone)


async def test_a_branch_goes_back_to_its_own_savepoint(harness: Harness) -> None:
    end = await harness.run(BranchSavepointWorkflow)
    assert (end.code, end.log.state) == (None, State.CONFIRMED)
    assert harness.services.undone == ["transfer.release"]
    assert harness.services.of(Effect.HELD) == {HOTEL.name, CAR.name, MUSEUM.name, PIVOT.name}


async def test_a_branch_whose_group_fails_while_it_goes_back_begins_nothing_more(harness: Harness) -> None:
    gate = harness.services.gate("transfer.release")
    other = harness.services.gate(MUSEUM.name, refuse)
    handle = await harness.start(BranchSavepointWorkflow)
    await gate.reached.wait()
    other.open.set()
    await harness.until_known(handle, [MUSEUM.name])
    await harness.later(timedelta(seconds=3))
    gate.open.set()
    end = await harness.end(handle)
    assert (end.code, end.log.state) == (SOLD_OUT, State.ROLLED_BACK)
    assert CAR.name not in harness.services.calls
    assert harness.services.of(Effect.HELD) == set()


@both_orders
@both_cancels
async def test_a_cancel_while_it_goes_back_waits_for_the_undos_and_then_rolls_back(
    harness: Harness, cancel: Cancel
) -> None:
    harness.services.script(CAR.name, then=refuse)
    gate = harness.services.gate("transfer.release")  # that of the hotel has not begun
    handle = await harness.start(SavepointWorkflow)
    await gate.reached.wait()
    await harness.until_known(handle, ["flight.release"])
    await cancel(handle)
    await harness.until_known(handle)
    assert entry_of(End(None, "", await harness.log(handle)), "transfer.release").status is Status.RUNNING
    gate.open.set()
    end = await harness.end(handle)
    assert (end.code, end.log.state) == (CANCELLED, State.ROLLED_BACK)
    assert sorted(undos_of(end)) == ["flight.release", "hotel.release", "transfer.release", "trip.close"]
    assert MUSEUM.name not in harness.services.calls


@pytest.mark.parametrize(
    ("workflow", "why"),
    [
        (LateSavepointWorkflow, "past the pivot"),
        (UndoneSavepointWorkflow, "the savepoint later is not in this branch"),
        (OtherBranchSavepointWorkflow, "the savepoint start is not in this branch"),
    ],
)
async def test_there_is_no_way_back_to_a_savepoint_after_the_pivot_of_another_branch_or_undone(
    harness: Harness, workflow: type, why: str
) -> None:
    handle = await harness.start(workflow)
    assert why in await failed_task(handle)
    await handle.terminate()


async def test_nothing_is_undone_where_an_earlier_execution_may_have_passed_the_pivot(harness: Harness) -> None:
    handle = await harness.start(ResumedSavepointWorkflow, resumed=True)
    assert "past the pivot" in await failed_task(handle)
    assert harness.services.undone == []
    await handle.terminate()


def test_a_plan_has_no_savepoints() -> None:
    plan = Plan()
    with pytest.raises(TypeError, match="a savepoint cannot be planned"):
        plan.savepoint("journey")

    async def body() -> None:
        await plan.undo_to(None)

    with pytest.raises(TypeError, match="a savepoint cannot be planned"):
        plan.follow(body())


async def test_a_colocated_saga_has_no_savepoints(harness: Harness) -> None:
    handle = await harness.start(SavepointWorkflow, policies=COLOCATED)
    assert "a colocated saga has no savepoints" in await failed_task(handle)
    await handle.terminate()
