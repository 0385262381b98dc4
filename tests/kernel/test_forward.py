"""The pivot and the calls that it promises: they are repeated until they are answered, and never rolled back."""

from datetime import timedelta

import pytest

from temporal_saga import POLICIES, CallKind, Policies, Policy, State, Status
from temporal_saga.outcome import SERVICE_UNAVAILABLE, STEP_TIMEOUT

from . import expect
from .harness import Harness, published
from .plan import BEST_EFFORT, FINISHES, PIVOT, ROLLBACK_CALL, STEPS
from .services import SOLD_OUT, Behaviour, Effect, fail, hang, lose_reply, refuse, work

SHORT_TIMEOUTS = Policies(
    finish=Policy(attempt_timeout=timedelta(milliseconds=150), attempts=2, total=timedelta(seconds=30)),
    best_effort=Policy(attempt_timeout=timedelta(milliseconds=150), attempts=2, total=timedelta(seconds=30)),
)


async def test_a_step_whose_first_reply_is_lost_and_whose_second_attempt_fails_is_done_once(harness: Harness) -> None:
    step = STEPS[-1].name
    harness.services.script(step, lose_reply, fail)
    end = await harness.run()
    expect.confirmed(harness, end)
    entry = expect.entry_of(end, step)
    assert (entry.status, entry.attempts) == (Status.DONE, 3)


async def test_a_step_that_does_not_answer_is_undone_too_after_all_its_attempts(harness: Harness) -> None:
    step = STEPS[-1].name
    harness.services.script(step, then=hang)
    end = await harness.run(attempt_timeouts={step: timedelta(milliseconds=150)})
    expect.rolled_back(harness, end, STEP_TIMEOUT, step=step)
    entry = expect.entry_of(end, step)
    assert (entry.status, entry.attempts) == (Status.UNKNOWN, POLICIES.forward.attempts)
    assert harness.services.calls.count(step) == POLICIES.forward.attempts


async def test_a_pivot_refused_after_hours_of_silence_rolls_back(harness: Harness) -> None:
    harness.services.script(PIVOT.name, *[fail] * 17, then=refuse)
    handle = await harness.start()
    expect.rolled_back(harness, await harness.end(handle), SOLD_OUT, step=PIVOT.name)
    assert await published(handle) == (State.ROLLED_BACK, SOLD_OUT, None)


@pytest.mark.parametrize("operation", [PIVOT.name, FINISHES[1].name])
async def test_a_promised_call_is_parked_for_hours_and_then_done(harness: Harness, operation: str) -> None:
    harness.services.script(operation, then=fail)
    handle = await harness.start()
    await harness.later(timedelta(hours=1))

    log = await harness.log(handle)
    parked = next(entry for entry in log.steps if entry.step == operation)
    assert (log.state, log.error) == (State.PARKED, None)
    assert (parked.status, parked.error_code, parked.ended_at) == (Status.PARKED, SERVICE_UNAVAILABLE, None)
    assert parked.attempts == harness.services.calls.count(operation) > 20
    state, _, since = await published(handle)
    assert (state, since is not None) == (State.PARKED, True)
    others = {finish.name for finish in FINISHES} - {operation}
    assert (others <= harness.services.of(Effect.HELD)) == (operation != PIVOT.name), (
        "a finish does not hold up another"
    )

    harness.services.script(operation, then=work)
    expect.confirmed(harness, await harness.end(handle))
    assert await published(handle) == (State.CONFIRMED, None, None)


async def test_a_promised_call_that_hangs_is_made_again(harness: Harness) -> None:
    operation = PIVOT.name
    harness.services.script(operation, hang, hang)
    end = await harness.run(policies=SHORT_TIMEOUTS)
    expect.confirmed(harness, end)
    assert expect.entry_of(end, operation).attempts == 3


async def test_a_refused_finish_is_parked_until_the_service_does_it(harness: Harness) -> None:
    finish = FINISHES[0].name
    harness.services.script(finish, then=refuse)
    handle = await harness.start()
    await harness.later(timedelta(minutes=1))
    log = await harness.log(handle)
    assert log.state is State.PARKED
    assert [(e.step, e.error_code) for e in log.steps if e.status is Status.PARKED] == [(finish, SOLD_OUT)]
    harness.services.script(finish, then=work)
    expect.confirmed(harness, await harness.end(handle))


async def test_a_best_effort_call_that_hangs_does_not_change_a_confirmation(harness: Harness) -> None:
    harness.services.script(BEST_EFFORT.name, then=hang)
    end = await harness.run(policies=SHORT_TIMEOUTS)
    expect.confirmed(harness, end, best_effort=False)
    assert expect.entry_of(end, BEST_EFFORT.name).error_code == STEP_TIMEOUT


@pytest.mark.parametrize("trouble", [refuse, hang])
async def test_a_rollback_call_that_fails_does_not_change_the_rollback(harness: Harness, trouble: Behaviour) -> None:
    harness.services.script(PIVOT.name, then=refuse)
    harness.services.script(ROLLBACK_CALL.name, then=trouble)
    end = await harness.run(policies=SHORT_TIMEOUTS)
    assert (end.code, end.log.state) == (SOLD_OUT, State.ROLLED_BACK)
    assert harness.services.of(Effect.HELD) == set()
    assert end.log.steps[-1].step == ROLLBACK_CALL.name
    assert all(entry.status is Status.DONE for entry in end.log.steps if entry.kind is CallKind.UNDO)
