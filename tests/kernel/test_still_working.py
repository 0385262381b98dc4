"""A service that has work in hand says when to ask it again. That is no failure, whatever kind of call it is."""

import re
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from temporal_saga import DEADLINE_EXCEEDED, POLICIES, Policies, Skip, State, Status, StillWorking
from temporal_saga.outcome import CANCELLED, STEP_TIMEOUT

from . import expect
from .cancels import Cancel, both_cancels
from .harness import Harness, both_orders
from .plan import BEST_EFFORT, FINISHES, PIVOT, STEPS
from .policies import COLOCATED, MINUTE, ONE_ATTEMPT
from .services import SOLD_OUT, fail, refuse, work, working

PAUSE = timedelta(minutes=10)
HOUR = timedelta(hours=1)
FIRST, MIDDLE, LAST = STEPS[0].name, "hotel.hold", STEPS[-1].name
UNDO, FINISH = "hotel.release", FINISHES[0].name
PERSISTENT = [PIVOT.name, FINISH, UNDO]
BEST_EFFORT_HOUR = replace(POLICIES, best_effort=replace(POLICIES.best_effort, longest_work=HOUR))


@pytest.mark.parametrize(
    ("policies", "call"),
    [
        *(pytest.param(BEST_EFFORT_HOUR, call, id=f"saga-{call}") for call in (LAST, *PERSISTENT, BEST_EFFORT.name)),
        *(pytest.param(BEST_EFFORT_HOUR.colocated(), call, id=f"colocated-{call}") for call in (LAST, FINISH)),
    ],
)
async def test_a_service_that_has_work_in_hand_is_asked_again_after_the_pause(
    harness: Harness, policies: Policies, call: str
) -> None:
    """Five times: more often than a round has attempts, and no attempt is spent."""
    harness.services.script(call, *working(5))
    if call == UNDO:
        harness.services.script(PIVOT.name, then=refuse)
    handle = await harness.start(policies=policies)
    entry = await harness.until_step(handle, call, Status.WAITING)
    assert (entry.attempts, entry.error_code, entry.ended_at, entry.parked_since) == (0, None, None, None)
    assert entry.next_question_at is not None
    assert PAUSE <= entry.next_question_at - entry.started_at < PAUSE + MINUTE
    assert (await harness.log(handle)).state is (State.COMPENSATING if call == UNDO else State.RUNNING)
    assert await handle.query("parked") == []

    end = await harness.end(handle)
    if call == UNDO:
        expect.rolled_back(harness, end, SOLD_OUT, step=PIVOT.name)
    else:
        expect.confirmed(harness, end)
    entry = expect.entry_of(end, call)
    assert (entry.status, entry.attempts, entry.next_question_at) == (Status.DONE, 1, None)
    assert harness.services.calls.count(call) == 6
    assert entry.ended_at is not None
    assert entry.ended_at - entry.started_at >= 5 * PAUSE


async def test_an_undo_that_has_work_in_hand_is_waited_for_by_the_undos_before_it(harness: Harness) -> None:
    harness.services.script(LAST, then=refuse)
    harness.services.script("flight.release", *working(1))
    handle = await harness.start()
    await harness.until_step(handle, "flight.release", Status.WAITING)
    await harness.until_known(handle, ["museum.release", "hotel.release"])
    assert "trip.close" not in harness.services.calls
    expect.rolled_back(harness, await harness.end(handle), SOLD_OUT, step=LAST)


@both_orders
@both_cancels
async def test_a_cancel_ends_a_step_between_two_questions(harness: Harness, cancel: Cancel) -> None:
    step = MIDDLE
    harness.services.script(step, *working(5))
    handle = await harness.start()
    await harness.until_step(handle, step, Status.WAITING)
    await cancel(handle)
    end = await harness.end(handle)
    expect.rolled_back(harness, end, CANCELLED)
    entry = expect.entry_of(end, step)
    assert (entry.status, entry.next_question_at) == (Status.UNKNOWN, None)


@pytest.mark.parametrize("policies", [POLICIES, COLOCATED])
async def test_the_deadline_ends_a_step_between_two_questions(harness: Harness, policies: Policies) -> None:
    harness.services.script(MIDDLE, *working(1_000))
    end = await harness.run(deadline=HOUR, policies=policies)
    expect.rolled_back(harness, end, DEADLINE_EXCEEDED, all_undone=policies.are_colocated)
    assert harness.services.calls.count(MIDDLE) == 6


async def test_a_step_with_a_deadline_has_no_other_bound(harness: Harness) -> None:
    harness.services.script(MIDDLE, *working(3))
    short = replace(POLICIES, forward=replace(POLICIES.forward, longest_work=PAUSE))
    expect.confirmed(harness, await harness.run(policies=short, deadline=HOUR))


async def test_a_step_without_a_deadline_is_bounded_by_its_policy(harness: Harness) -> None:
    harness.services.script(MIDDLE, *working(1_000))
    short = replace(POLICIES, forward=replace(POLICIES.forward, longest_work=HOUR))
    end = await harness.run(policies=short)
    expect.rolled_back(harness, end, STEP_TIMEOUT, step=MIDDLE)
    assert harness.services.calls.count(MIDDLE) == 6
    assert re.fullmatch(r"the work goes on after 300\d s of 3600 s allowed", end.message or "")


async def test_a_step_is_bounded_by_its_own_time_also_where_the_deadline_is_later(harness: Harness) -> None:
    harness.services.script(MIDDLE, *working(1_000))
    end = await harness.run(within=timedelta(minutes=25), deadline=HOUR)
    expect.rolled_back(harness, end, STEP_TIMEOUT, step=MIDDLE)
    assert harness.services.calls.count(MIDDLE) == 3


@pytest.mark.parametrize("call", [PIVOT.name, UNDO])
async def test_a_call_whose_work_takes_too_long_is_parked_and_asked_again_in_rounds(
    harness: Harness, call: str
) -> None:
    if call == UNDO:
        harness.services.script(PIVOT.name, then=refuse)
    harness.services.script(call, *working(7))
    hour = replace(POLICIES.undo, longest_work=HOUR)
    end = await harness.run(policies=Policies(undo=hour, finish=hour))
    entry = expect.entry_of(end, call)
    assert entry.parked_since is not None
    assert HOUR - PAUSE <= entry.parked_since - entry.started_at < HOUR, "no question is left that would be in time"
    assert (entry.status, entry.error_code) == (Status.DONE, None)
    assert harness.services.calls.count(call) == 8


@pytest.mark.parametrize("decision", ["retry", "skip", "fix"])
async def test_an_operator_may_decide_about_a_parked_call_that_has_work_in_hand(
    harness: Harness, decision: str
) -> None:
    harness.services.script(FINISH, fail, *working(1), then=work)
    handle = await harness.start(policies=ONE_ATTEMPT)
    await harness.until_step(handle, FINISH, Status.PARKED)
    await harness.later(MINUTE)
    entry = await harness.until_step(handle, FINISH, Status.WAITING)
    [parked] = await handle.query("parked")
    assert parked["trying_since"] is None
    assert (entry.error_code, (await harness.log(handle)).state) == (None, State.RUNNING)
    assert entry.next_question_at is not None
    said: dict[str, list[Any]] = {
        "retry": [FINISH],
        "skip": [FINISH, Skip("ann", "paid by hand")],
        "fix": [FINISH, {"actor": "ann", "request": {"transaction_id": handle.id}}],
    }
    await handle.execute_update(f"desk_{decision}", args=said[decision])
    end = await harness.end(handle)
    entry = expect.entry_of(end, FINISH)
    assert entry.status is (Status.SKIPPED if decision == "skip" else Status.DONE)
    assert entry.ended_at is not None
    assert entry.ended_at - entry.started_at < PAUSE
    assert await handle.query("parked") == []


async def test_the_pauses_are_never_shorter_than_a_hundredth_of_the_time_since_the_first_question(
    harness: Harness,
) -> None:
    """A service that wants to be asked all the time must not use up the history of its saga."""
    harness.services.script(FIRST, *working(1, 10 * HOUR), *working(3, timedelta(milliseconds=1)))
    entry = expect.entry_of(await harness.run(within=24 * HOUR), FIRST)
    assert entry.ended_at is not None
    assert entry.ended_at - entry.started_at >= 10 * HOUR * (1 + 3 / 100)


@pytest.mark.parametrize("pause", [timedelta(0), timedelta(seconds=-1)])
def test_a_service_cannot_ask_for_no_pause(pause: timedelta) -> None:
    with pytest.raises(ValueError, match="ask_again_in"):
        StillWorking(pause)
