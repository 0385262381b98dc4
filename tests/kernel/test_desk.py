"""The desk: a parked call stays there until it is done or skipped, and a decision is applied when its round is over."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from temporal_saga import CallKind, Rounds, Skip, State, Status
from tests.gate import Gate

from . import expect
from .harness import Harness, published
from .plan import PIVOT
from .services import Effect, behind, fail, refuse
from .short_trip import (
    FINISH,
    FIRST_PAUSE,
    POLICIES,
    UNDO,
    ShortTripWorkflow,
    being_tried,
    decide,
    desk,
    parked,
    record,
    refused,
    until_desk,
    until_tried,
)

BY_ANN = Skip(actor="ann", reason="settled by hand")
_TIMEOUT_S = 20


@pytest.mark.parametrize("step", [UNDO, PIVOT.name, FINISH])
async def test_a_parked_call_stays_on_the_desk_while_it_is_tried_again(
    harness: Harness, step: str, caplog: pytest.LogCaptureFixture
) -> None:
    gate = Gate()
    handle = await being_tried(harness, step, gate, behind(gate))
    [call] = await desk(handle)
    assert (call.step, call.attempts) == (step, 1)
    assert call.trying_since is not None
    assert call.since <= call.trying_since == call.next_attempt_at
    assert (await harness.log(handle)).state is State.PARKED
    state, _, since = await published(handle)
    assert (state, since is not None) == (State.PARKED, True)
    lines = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    whole = (await harness.log(handle)).transaction_id
    assert any(f"{whole}: {call.kind} {step} PARKED SERVICE_UNAVAILABLE" in line for line in lines)
    assert any(f"{whole}: saga PARKED" in line for line in lines)
    gate.open.set()
    end = await harness.end(handle)
    assert expect.entry_of(end, step).attempts == 2
    assert await desk(handle) == []


async def test_a_retry_that_is_decided_while_a_round_runs_is_another_round_at_once(harness: Harness) -> None:
    gate = Gate()
    handle = await being_tried(harness, UNDO, gate, behind(gate, fail))
    await decide(handle, "retry", UNDO)
    gate.open.set()
    end = await harness.end(handle)
    entry = expect.entry_of(end, UNDO)
    assert (entry.status, entry.attempts) == (Status.DONE, 3)
    assert entry.ended_at is not None
    assert entry.ended_at - entry.started_at < FIRST_PAUSE


async def test_a_skip_that_is_decided_while_a_round_runs_is_applied_when_that_fails(harness: Harness) -> None:
    gate = Gate()
    handle = await being_tried(harness, UNDO, gate, behind(gate, fail))
    await decide(handle, "skip", UNDO, BY_ANN)
    assert (await record(handle, UNDO)).waits == "skip"
    gate.open.set()
    end = await harness.end(handle)
    assert end.log.state is State.ROLLED_BACK_WITH_SKIPS
    entry = expect.entry_of(end, UNDO)
    assert (entry.status, entry.note) == (Status.SKIPPED, "skipped by ann: settled by hand")
    assert entry.skipped is not None
    assert (entry.skipped.actor, entry.skipped.reason, entry.skipped.transaction_id) == (
        "ann",
        "settled by hand",
        handle.id,
    )


async def test_a_skip_is_not_applied_to_a_call_whose_running_round_gets_through(harness: Harness) -> None:
    gate = Gate()
    handle = await being_tried(harness, UNDO, gate, behind(gate))
    await decide(handle, "skip", UNDO, BY_ANN)
    gate.open.set()
    end = await harness.end(handle)
    assert (end.log.state, expect.entry_of(end, UNDO).status) == (State.ROLLED_BACK, Status.DONE)
    assert harness.services.of(Effect.HELD) == set()


async def test_a_second_decision_is_refused_until_the_first_is_applied(harness: Harness) -> None:
    gate = Gate()
    handle = await being_tried(harness, UNDO, gate, behind(gate, fail))
    await decide(handle, "retry", UNDO)
    assert "a retry was decided before" in await refused(handle, "skip", UNDO, BY_ANN)
    gate.open.set()
    assert (await harness.end(handle)).log.state is State.ROLLED_BACK
    settled = await record(handle, UNDO)  # its workflow has ended, and still tells what was decided
    assert (settled.parked, settled.waits) == (None, None)
    assert [each.decision for each in settled.decisions] == ["retry", "retry"]


async def test_a_decision_costs_nothing(harness: Harness) -> None:
    """The next automatic round comes when it was due anyway, and its pause has doubled only with rounds of its own."""
    handle = await parked(harness, UNDO, *[fail] * 4)
    [before] = await desk(handle)
    assert before.next_attempt_at - before.since == FIRST_PAUSE
    for attempts in (2, 3, 4):
        await decide(handle, "retry", UNDO)
        [now] = await until_tried(handle, attempts)
        assert now.next_attempt_at == before.next_attempt_at
    await harness.later(FIRST_PAUSE + timedelta(seconds=1))
    [doubled] = await desk(handle)
    assert doubled.attempts == 5
    assert timedelta(0) <= doubled.next_attempt_at - before.next_attempt_at - 2 * FIRST_PAUSE < timedelta(seconds=5)
    end = await harness.end(handle)
    assert expect.entry_of(end, UNDO).attempts == 6


async def test_a_round_that_was_asked_for_and_lasts_beyond_the_next_one_doubles_no_pause(harness: Harness) -> None:
    short_timeouts = replace(POLICIES, rounds=Rounds(first_pause=timedelta(seconds=2)))
    gate = Gate()
    harness.services.script(UNDO, fail, behind(gate, fail), fail)
    harness.services.script(PIVOT.name, then=refuse)
    handle = await harness.start(ShortTripWorkflow, policies=short_timeouts)
    await until_desk(handle, bool)
    await decide(handle, "retry", UNDO)
    async with asyncio.timeout(_TIMEOUT_S):
        await gate.reached.wait()
    await asyncio.sleep(2.1)
    gate.open.set()
    call = await until_tried(handle, 2)
    history = await handle.fetch_history()
    pauses = [
        event.timer_started_event_attributes.start_to_fire_timeout.ToTimedelta()
        for event in history.events
        if event.HasField("timer_started_event_attributes")
    ]
    assert pauses == [timedelta(seconds=2)] * 2, call


async def test_a_skipped_finish_is_said_in_the_end_and_in_the_search_attribute(harness: Harness) -> None:
    handle = await parked(harness, FINISH)
    await decide(handle, "skip", FINISH, BY_ANN)
    end = await harness.end(handle)
    assert (end.code, end.log.state) == (None, State.CONFIRMED_WITH_SKIPS)
    assert expect.entry_of(end, FINISH).kind is CallKind.FINISH
    assert await published(handle) == (State.CONFIRMED_WITH_SKIPS, None, None)
    assert FINISH not in harness.services.of(Effect.HELD)


async def test_the_pivot_is_not_skipped_while_it_is_tried_again_either(harness: Harness) -> None:
    gate = Gate()
    handle = await being_tried(harness, PIVOT.name, gate, behind(gate))
    assert "not skipped" in await refused(handle, "skip", PIVOT.name, BY_ANN)
    gate.open.set()
    assert (await harness.end(handle)).log.state is State.CONFIRMED
