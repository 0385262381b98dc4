"""Rollbacks: an undo that does not get through is parked and tried again for ever, and does not hold up the others."""

import asyncio
from datetime import timedelta

import pytest

from temporal_saga import CallKind, Policies, Policy, State, Status
from temporal_saga.outcome import SERVICE_UNAVAILABLE

from . import expect
from .harness import Harness
from .plan import PIVOT, UNDOS
from .services import SOLD_OUT, Behaviour, fail, hang, refuse, work

SHORT_TIMEOUTS = Policies(
    undo=Policy(attempt_timeout=timedelta(milliseconds=150), attempts=1, total=timedelta(seconds=30))
)


@pytest.mark.parametrize("undo", [UNDOS[-1].name])
async def test_an_undo_that_fails_for_hours_is_parked_and_keeps_no_other_waiting(harness: Harness, undo: str) -> None:
    harness.services.script(PIVOT.name, then=refuse)
    harness.services.script(undo, then=fail)
    handle = await harness.start()
    await harness.later(timedelta(hours=2))

    log = await harness.log(handle)
    assert log.state is State.PARKED
    assert log.error is not None
    assert log.error.code == SOLD_OUT
    undos = {entry.step: entry for entry in log.steps if entry.kind is CallKind.UNDO}
    assert {name for name, entry in undos.items() if entry.status is Status.DONE} == {undo.name for undo in UNDOS} - {
        undo
    }
    assert (undos[undo].status, undos[undo].error_code) == (Status.PARKED, SERVICE_UNAVAILABLE)
    assert undos[undo].attempts == harness.services.calls.count(undo) > 10

    harness.services.script(undo, then=work)
    expect.rolled_back(harness, await harness.end(handle), SOLD_OUT, step=PIVOT.name)


@pytest.mark.parametrize("trouble", [refuse, hang])
@pytest.mark.parametrize("undo", [UNDOS[-1].name])
async def test_an_undo_that_is_refused_or_hangs_is_parked_too(harness: Harness, undo: str, trouble: Behaviour) -> None:
    harness.services.script(PIVOT.name, then=refuse)
    harness.services.script(undo, trouble)
    end = await harness.run(policies=SHORT_TIMEOUTS)
    expect.rolled_back(harness, end, SOLD_OUT, step=PIVOT.name)
    entry = expect.entry_of(end, undo)
    assert entry.attempts == 2
    assert entry.ended_at is not None
    assert entry.ended_at - entry.started_at >= SHORT_TIMEOUTS.rounds.first_pause


async def test_all_undos_may_be_parked_at_once(harness: Harness) -> None:
    harness.services.script(PIVOT.name, then=refuse)
    for undo in UNDOS:
        harness.services.script(undo.name, then=fail)
    handle = await harness.start()
    await harness.later(timedelta(minutes=1))
    log = await harness.log(handle)
    assert {entry.step for entry in log.steps if entry.status is Status.PARKED} == {undo.name for undo in UNDOS}
    for undo in UNDOS:
        harness.services.script(undo.name, then=work)
    expect.rolled_back(harness, await harness.end(handle), SOLD_OUT, step=PIVOT.name)


async def test_a_refused_pivot_undoes_the_trip_in_reverse_and_each_group_together(harness: Harness) -> None:
    """The whole rule: an undo begins when the later steps are undone, and does not wait for other branches."""
    harness.services.script("trip.confirm", then=refuse)
    names = ("car.release", "flight.release", "transfer.release", "museum.release", "hotel.release", "trip.close")
    gates = {name: harness.services.gate(name) for name in names}
    handle = await harness.start()

    async def running(*undos: str) -> None:
        async with asyncio.timeout(20):
            for undo in undos:
                await gates[undo].reached.wait()
        assert {name for name, gate in gates.items() if gate.reached.is_set() and not gate.open.is_set()} == set(undos)

    async def done(undo: str) -> None:
        gates[undo].open.set()
        await harness.until_known(handle, [undo])

    await running("car.release")
    await done("car.release")
    await running("flight.release", "transfer.release", "museum.release")
    await done("flight.release")
    await running("transfer.release", "museum.release")
    await done("transfer.release")
    await running("hotel.release", "museum.release")
    await done("hotel.release")
    await running("museum.release")
    await done("museum.release")
    await running("trip.close")
    gates["trip.close"].open.set()
    expect.rolled_back(harness, await harness.end(handle), SOLD_OUT, step=PIVOT.name)
