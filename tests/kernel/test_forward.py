"""The pivot and what it promised: asked until the answer is known, never rolled back."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from saga import SEARCH_ATTRIBUTES, CallKind, Policies, Policy, State, Status
from saga.journal import SAGA_ERROR_CODE, SAGA_PARKED_SINCE, SAGA_STATE
from saga.outcome import SERVICE_UNAVAILABLE, STEP_TIMEOUT

from . import expect
from .agency import Agency, Handle
from .plan import COURTESY, FAREWELL, FINISHES, PIVOT, unwinding_of_all
from .world import SOLD_OUT, Behaviour, Effect, fail, hang, lose_reply, refuse, work

HASTY = Policies(
    finish=Policy(attempt_timeout=timedelta(milliseconds=150), attempts=2, total=timedelta(seconds=30)),
    best_effort=Policy(attempt_timeout=timedelta(milliseconds=150), attempts=2, total=timedelta(seconds=30)),
)
every_promise = pytest.mark.parametrize("operation", [PIVOT.name, *(finish.name for finish in FINISHES)])


async def test_a_refused_pivot_rolls_everything_back(agency: Agency) -> None:
    agency.world.script(PIVOT.name, then=refuse)
    handle = await agency.start()
    end = await agency.end(handle)
    expect.rolled_back(agency, end, SOLD_OUT, unwinding_of_all(), step=PIVOT.name)
    assert await published(handle) == (State.ROLLED_BACK, SOLD_OUT, None)


async def test_a_pivot_refused_after_hours_of_silence_rolls_back(agency: Agency) -> None:
    agency.world.script(PIVOT.name, *[fail] * 17, then=refuse)
    end = await agency.run()
    expect.rolled_back(agency, end, SOLD_OUT, unwinding_of_all(), step=PIVOT.name)


@every_promise
async def test_what_is_promised_is_parked_for_a_day_and_then_done(agency: Agency, operation: str) -> None:
    agency.world.script(operation, then=fail)
    handle = await agency.start()
    await agency.later(timedelta(days=1))

    log = await agency.log(handle)
    parked = next(entry for entry in log.steps if entry.step == operation)
    assert (log.state, log.error) == (State.PARKED, None)
    assert (parked.status, parked.error_code, parked.ended_at) == (Status.PARKED, SERVICE_UNAVAILABLE, None)
    assert parked.attempts == agency.world.calls.count(operation) > 50
    state, _, since = await published(handle)
    assert (state, since is not None) == (State.PARKED, True)
    others = {finish.name for finish in FINISHES} - {operation}
    assert (others <= agency.world.of(Effect.HELD)) == (operation != PIVOT.name), "a finish does not hold up another"

    agency.world.script(operation, then=work)
    expect.confirmed(agency, await agency.end(handle))
    assert await published(handle) == (State.CONFIRMED, None, None)


@every_promise
async def test_what_is_promised_and_hangs_is_asked_again(agency: Agency, operation: str) -> None:
    agency.world.script(operation, hang, hang)
    end = await agency.run(policies=HASTY)
    expect.confirmed(agency, end)
    assert expect.entry_of(end, operation).attempts == 3


@every_promise
async def test_what_is_promised_and_loses_its_reply_is_done_once(agency: Agency, operation: str) -> None:
    agency.world.script(operation, *[lose_reply] * 7)
    expect.confirmed(agency, await agency.run())


@pytest.mark.parametrize("finish", [finish.name for finish in FINISHES])
async def test_a_refused_finish_waits_parked_for_a_change_of_mind(agency: Agency, finish: str) -> None:
    agency.world.script(finish, then=refuse)
    handle = await agency.start()
    await agency.later(timedelta(hours=1))
    log = await agency.log(handle)
    assert log.state is State.PARKED
    assert [(e.step, e.error_code) for e in log.steps if e.status is Status.PARKED] == [(finish, SOLD_OUT)]
    agency.world.script(finish, then=work)
    expect.confirmed(agency, await agency.end(handle))


@pytest.mark.parametrize(("trouble", "code"), [(fail, SERVICE_UNAVAILABLE), (refuse, SOLD_OUT), (hang, STEP_TIMEOUT)])
async def test_best_effort_does_not_change_a_confirmation(agency: Agency, trouble: Behaviour, code: str) -> None:
    agency.world.script(COURTESY.name, then=trouble)
    end = await agency.run(policies=HASTY)
    expect.confirmed(agency, end, courtesy=False)
    assert expect.entry_of(end, COURTESY.name).error_code == code


@pytest.mark.parametrize("trouble", [fail, refuse, hang])
async def test_a_farewell_that_fails_does_not_change_a_rollback(agency: Agency, trouble: Behaviour) -> None:
    agency.world.script(PIVOT.name, then=refuse)
    agency.world.script(FAREWELL.name, then=trouble)
    end = await agency.run(policies=HASTY)
    assert (end.code, end.log.state) == (SOLD_OUT, State.ROLLED_BACK)
    assert agency.world.of(Effect.HELD) == set()
    assert end.log.steps[-1].step == FAREWELL.name
    assert all(entry.status is Status.DONE for entry in end.log.steps if entry.kind is CallKind.UNDO)


async def published(handle: Handle) -> tuple[str | None, str | None, str | None]:
    """The search attributes as last written. Read in the history: the test server shows an unset one as a null."""
    written: dict[str, str | None] = {key.name: None for key in SEARCH_ATTRIBUTES}
    async for event in handle.fetch_history_events():
        fields = event.upsert_workflow_search_attributes_event_attributes.search_attributes.indexed_fields
        written |= {name: json.loads(payload.data or b"null") for name, payload in fields.items()}
    return written[SAGA_STATE.name], written[SAGA_ERROR_CODE.name], written[SAGA_PARKED_SINCE.name]
