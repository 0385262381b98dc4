"""The way back: undos that do not get through are parked, tried again for ever, and in nobody's way."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from saga import CallKind, Policies, Policy, State, Status
from saga.outcome import SERVICE_UNAVAILABLE

from . import expect
from .agency import Agency, End
from .plan import PIVOT, PLAN, UNDOS, Group, unwinding_of_all
from .world import SOLD_OUT, Behaviour, Effect, fail, hang, lose_reply, refuse, work

HASTY = Policies(undo=Policy(attempt_timeout=timedelta(milliseconds=150), attempts=1, total=timedelta(seconds=30)))
every_undo = pytest.mark.parametrize("undo", [undo.name for undo in UNDOS])


@every_undo
async def test_an_undo_that_fails_for_hours_is_parked_and_keeps_no_other_waiting(agency: Agency, undo: str) -> None:
    agency.world.script(PIVOT.name, then=refuse)
    agency.world.script(undo, then=fail)
    handle = await agency.start()
    await agency.later(timedelta(hours=6))

    log = await agency.log(handle)
    assert log.state is State.PARKED
    assert log.error is not None
    assert log.error.code == SOLD_OUT
    undos = {entry.step: entry for entry in log.steps if entry.kind is CallKind.UNDO}
    assert {name for name, entry in undos.items() if entry.status is Status.DONE} == set(names_of_undos()) - {undo}
    assert (undos[undo].status, undos[undo].error_code) == (Status.PARKED, SERVICE_UNAVAILABLE)
    assert undos[undo].attempts == agency.world.calls.count(undo) > 20

    agency.world.script(undo, then=work)
    expect_everything_undone(agency, await agency.end(handle))


@pytest.mark.parametrize("trouble", [refuse, hang])
@pytest.mark.parametrize("undo", [UNDOS[0].name, UNDOS[-1].name])
async def test_an_undo_that_is_refused_or_hangs_is_parked_too(agency: Agency, undo: str, trouble: Behaviour) -> None:
    agency.world.script(PIVOT.name, then=refuse)
    agency.world.script(undo, trouble)
    end = await agency.run(policies=HASTY)
    expect_everything_undone(agency, end)
    entry = expect.entry_of(end, undo)
    assert entry.attempts == 2
    assert entry.ended_at is not None
    assert entry.ended_at - entry.started_at >= HASTY.rounds.first_pause


async def test_all_undos_may_be_parked_at_once(agency: Agency) -> None:
    agency.world.script(PIVOT.name, then=refuse)
    for undo in UNDOS:
        agency.world.script(undo.name, then=fail)
    handle = await agency.start()
    await agency.later(timedelta(hours=6))
    log = await agency.log(handle)
    assert {entry.step for entry in log.steps if entry.status is Status.PARKED} == {undo.name for undo in UNDOS}
    for undo in UNDOS:
        agency.world.script(undo.name, then=work)
    expect_everything_undone(agency, await agency.end(handle))


@every_undo
async def test_an_undo_that_loses_its_reply_undoes_once(agency: Agency, undo: str) -> None:
    agency.world.script(PIVOT.name, then=refuse)
    agency.world.script(undo, *[lose_reply] * 7)
    end = await agency.run()
    expect.rolled_back(agency, end, SOLD_OUT, unwinding_of_all(), step=PIVOT.name)


async def test_the_undos_of_a_group_run_together(agency: Agency) -> None:
    agency.world.script(PIVOT.name, then=refuse)
    last_of_each = [
        branch[-1].undo.name for part in PLAN if isinstance(part, Group) for branch in part.branches if branch[-1].undo
    ]
    gates = [agency.world.gate(undo) for undo in last_of_each]
    handle = await agency.start()
    async with asyncio.timeout(20):
        for gate in gates:
            await gate.reached.wait()  # all wait in front of their work: none waits for another
    for gate in gates:
        gate.open.set()
    end = await agency.end(handle)
    expect.rolled_back(agency, end, SOLD_OUT, unwinding_of_all(), step=PIVOT.name)


def names_of_undos() -> list[str]:
    return [undo.name for undo in UNDOS]


def expect_everything_undone(agency: Agency, end: End) -> None:
    """In whatever order: what is parked lets the others pass."""
    assert (end.code, end.log.state) == (SOLD_OUT, State.ROLLED_BACK)
    assert sorted(agency.world.undone) == sorted(names_of_undos())
    assert agency.world.of(Effect.HELD) == {"mail.regrets"}
    expect.nothing_is_open(end)
