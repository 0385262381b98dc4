"""A saga waits before its pivot for an event from outside. Its timeout, the deadline and a cancel end the wait."""

from datetime import timedelta
from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType

from temporal_saga import DEADLINE_EXCEEDED, WAIT_TIMEOUT, CallKind, Entry, Plan, State, Status
from temporal_saga.outcome import CANCELLED

from .cancels import Cancel, both_cancels, by_temporal
from .expect import entry_of, nothing_is_open
from .harness import Handle, Harness, both_orders, failed_task
from .plan import PIVOT
from .policies import COLOCATED, MINUTE
from .services import Effect, refuse
from .ways import (
    APPROVAL,
    CAR,
    FIRST,
    FLIGHT,
    MUSEUM,
    WAIT,
    ApprovalFirstWorkflow,
    ApprovalInGroupWorkflow,
    ApprovalOrElseWorkflow,
    ApprovalWorkflow,
    ForeseenApprovalWorkflow,
    LateApprovalWorkflow,
    NewsFirstWorkflow,
    SharedApprovalWorkflow,
)

LONGER = WAIT + MINUTE


async def waiting(
    harness: Harness, workflow: type = ApprovalWorkflow, *, after: str = FIRST.name, **trip: Any
) -> Handle:
    handle = await harness.start(workflow, **trip)
    await harness.until_known(handle, [after])
    return handle


async def wait_of(harness: Harness, handle: Handle) -> Entry:
    [entry] = [entry for entry in (await harness.log(handle)).steps if entry.kind is CallKind.WAIT]
    return entry


async def test_a_wait_ends_when_its_condition_holds_and_returns_what_that_found(harness: Harness) -> None:
    handle = await waiting(harness)
    entry = await wait_of(harness, handle)
    assert (entry.step, entry.service, entry.status, entry.attempts) == (APPROVAL, "saga", Status.RUNNING, 0)
    await handle.execute_update("approve", "ann")
    end = await harness.end(handle)
    assert (end.code, end.log.state) == (None, State.CONFIRMED)
    assert (entry_of(end, APPROVAL).status, entry_of(end, APPROVAL).attempts) == (Status.DONE, 0)
    assert entry_of(end, PIVOT.name).name == "approved by ann"
    assert harness.services.calls == [FIRST.name, CAR.name, PIVOT.name]
    nothing_is_open(end)


async def test_what_holds_already_needs_no_timer(harness: Harness) -> None:
    handle, gate = await harness.stop_at(FIRST.name, ApprovalWorkflow)
    await handle.execute_update("approve", "ann")
    gate.open.set()
    assert (await harness.end(handle)).log.state is State.CONFIRMED
    events = {event.event_type for event in (await handle.fetch_history()).events}
    assert EventType.EVENT_TYPE_TIMER_STARTED not in events


async def test_each_of_two_waits_returns_what_it_found_although_the_first_has_taken_it(harness: Harness) -> None:
    handle = await harness.start(SharedApprovalWorkflow)
    await harness.until_known(handle)
    await handle.execute_update("approve", "ann")
    assert entry_of(await harness.end(handle), PIVOT.name).name == "ann and ann"


async def test_a_wait_whose_time_is_over_rolls_back_with_its_code(harness: Harness) -> None:
    end = await harness.run(ApprovalWorkflow)
    assert (end.code, end.log.state) == (WAIT_TIMEOUT, State.ROLLED_BACK)
    assert end.log.error is not None
    assert (end.log.error.step, end.message) == (APPROVAL, "it did not come within 3600 s")
    assert (entry_of(end, APPROVAL).status, entry_of(end, APPROVAL).error_code) == (Status.UNKNOWN, WAIT_TIMEOUT)
    assert harness.services.of(Effect.HELD) == set()
    nothing_is_open(end)


async def test_a_wait_whose_time_is_over_gives_another_value_and_the_saga_goes_on(harness: Harness) -> None:
    end = await harness.run(ApprovalOrElseWorkflow)
    assert (end.code, end.log.state, end.log.error) == (None, State.CONFIRMED, None)
    assert (entry_of(end, APPROVAL).status, entry_of(end, APPROVAL).error_code) == (Status.UNKNOWN, WAIT_TIMEOUT)
    assert harness.services.of(Effect.HELD) == {FIRST.name, FLIGHT.name, PIVOT.name}


@both_orders
@both_cancels
async def test_a_cancel_ends_a_wait(harness: Harness, cancel: Cancel) -> None:
    handle = await waiting(harness)
    await cancel(handle)
    end = await harness.end(handle)
    assert (end.code, end.log.state) == (CANCELLED, State.ROLLED_BACK)
    assert (entry_of(end, APPROVAL).status, entry_of(end, APPROVAL).error_code) == (Status.UNKNOWN, CANCELLED)
    assert harness.services.calls == [FIRST.name, FIRST.undo.name] if FIRST.undo else []


@both_orders
@both_cancels
async def test_a_cancel_ends_the_wait_of_a_branch_and_is_not_taken_for_a_timeout(
    harness: Harness, cancel: Cancel
) -> None:
    handle = await waiting(harness, ApprovalInGroupWorkflow, after=MUSEUM.name)
    await cancel(handle)
    end = await harness.end(handle)
    assert (end.code, end.log.state) == (CANCELLED, State.ROLLED_BACK)
    assert entry_of(end, APPROVAL).error_code == CANCELLED
    assert FLIGHT.name not in harness.services.calls
    assert harness.services.of(Effect.HELD) == set()


async def test_a_failure_beside_a_wait_ends_it(harness: Harness) -> None:
    harness.services.script(MUSEUM.name, then=refuse)
    end = await harness.run(ApprovalInGroupWorkflow)
    assert end.log.state is State.ROLLED_BACK
    entry = entry_of(end, APPROVAL)
    assert (entry.status, entry.error_code) == (Status.UNKNOWN, CANCELLED)
    assert entry.ended_at is not None
    assert entry.ended_at - entry.started_at < MINUTE


@pytest.mark.parametrize("workflow", [ApprovalWorkflow, ApprovalOrElseWorkflow])
async def test_the_deadline_ends_a_wait(harness: Harness, workflow: type) -> None:
    end = await harness.run(workflow, deadline=MINUTE)
    assert (end.code, end.log.state) == (DEADLINE_EXCEEDED, State.ROLLED_BACK)
    assert entry_of(end, APPROVAL).error_code == DEADLINE_EXCEEDED
    assert harness.services.of(Effect.HELD) == set()


async def test_a_wait_after_the_pivot_is_a_bug(harness: Harness) -> None:
    handle = await harness.start(LateApprovalWorkflow)
    assert "past the pivot" in await failed_task(handle)
    await handle.terminate()


async def test_a_wait_has_no_end_where_an_earlier_execution_may_have_passed_the_pivot(harness: Harness) -> None:
    """What that one has heard in time may have confirmed the saga, so this one must neither roll back nor branch."""
    handle = await waiting(harness, ForeseenApprovalWorkflow, resumed=True, deadline=MINUTE)
    await by_temporal(handle)
    await harness.later(LONGER)
    assert (await wait_of(harness, handle)).status is Status.RUNNING
    await handle.execute_update("approve", "ann")
    assert (await harness.end(handle)).log.state is State.CONFIRMED


@pytest.mark.parametrize("workflow", [ApprovalFirstWorkflow, NewsFirstWorkflow], ids=["wait", "best effort"])
async def test_nothing_takes_the_place_of_the_first_step_of_a_colocated_saga(harness: Harness, workflow: type) -> None:
    """The first step is in the history before it is made, and from then on a rollback undoes the rest of the body."""
    harness.services.script(PIVOT.name, then=refuse)
    handle = await harness.start(workflow, policies=COLOCATED)
    await handle.execute_update("approve", "ann")
    assert (await harness.end(handle)).log.state is State.ROLLED_BACK
    events = [event.activity_task_scheduled_event_attributes for event in (await handle.fetch_history()).events]
    scheduled = {event.activity_type.name for event in events}
    assert FIRST.name in scheduled
    assert CAR.name not in scheduled, "that is a local call"


def test_a_wait_is_no_part_of_a_plan() -> None:
    plan = Plan()
    plan.follow(plan.wait_for(lambda: False, name=APPROVAL, timeout=timedelta(days=1)))
    assert plan.stages == []
