"""A group: one fails while another is under way. Nothing of a group may go on beside its unwinding."""

from __future__ import annotations

from datetime import timedelta

import pytest

from saga import Policies, State, Status
from saga.interruption import DEADLINE_EXCEEDED
from saga.outcome import CANCELLED

from . import expect
from .agency import Agency
from .plan import PLAN, Group, never_called_after, siblings_of, unwinding_from
from .test_cancel import Cancel, by_business, by_temporal
from .world import SOLD_OUT, Effect, hang, refuse

PATIENT = Policies(settle=timedelta(hours=1))
BRISK = Policies(settle=timedelta(milliseconds=500))
UNHURRIED = Policies(settle=timedelta(seconds=3))
"""Long enough for a test on a busy machine to cancel while a group settles."""
GROUPS = [part for part in PLAN if isinstance(part, Group)]
PAIRS = [
    (failing[0].name, hanging[0].name)
    for group in GROUPS
    for failing in group.branches
    for hanging in group.branches
    if failing is not hanging
]
NESTED = next(branch for group in GROUPS for branch in group.branches if len(branch) > 1)
pairs = pytest.mark.parametrize(("failing", "hanging"), PAIRS)


@pairs
async def test_a_call_that_does_not_settle_is_given_up_and_undone(agency: Agency, failing: str, hanging: str) -> None:
    agency.world.script(failing, then=refuse)
    agency.world.script(hanging, then=hang)
    end = await agency.run(policies=BRISK)
    assert (end.code, end.log.state) == (SOLD_OUT, State.ROLLED_BACK)
    assert agency.world.of(Effect.HELD) == {"mail.regrets"}
    assert hanging in agency.world.of(Effect.TOMBSTONE), "its outcome is unknown: the undo closes the door"
    entry = expect.entry_of(end, hanging)
    assert (entry.status, entry.error_code) == (Status.UNKNOWN, CANCELLED)
    assert not set(agency.world.calls) & never_called_after(hanging)
    expect.nothing_is_open(end)


@pairs
async def test_a_call_that_settles_in_time_is_known_and_undone(agency: Agency, failing: str, hanging: str) -> None:
    agency.world.script(failing, then=refuse)
    gate = agency.world.gate(hanging)
    handle = await agency.start(policies=PATIENT)
    await agency.until_known(handle, [failing])
    gate.open.set()
    end = await agency.end(handle)
    expect.rolled_back_from(agency, end, failing, SOLD_OUT, undone_too=False)
    assert expect.entry_of(end, hanging).status is Status.DONE


@pytest.mark.parametrize("cancel", [by_business, by_temporal])
@pytest.mark.parametrize(("failing", "hanging"), PAIRS[:2])
async def test_a_cancel_while_a_group_settles_leaves_nothing_running(
    agency: Agency, failing: str, hanging: str, cancel: Cancel
) -> None:
    agency.world.script(failing, then=refuse)
    agency.world.script(hanging, then=hang)
    handle = await agency.start(policies=UNHURRIED)
    await agency.until_known(handle, [failing])
    await cancel(handle)
    end = await agency.end(handle)
    assert (end.code, end.log.state) == (CANCELLED, State.ROLLED_BACK)
    assert agency.world.of(Effect.HELD) == {"mail.regrets"}
    assert expect.entry_of(end, hanging).status is Status.UNKNOWN
    expect.nothing_is_open(end)


async def test_a_deadline_while_a_group_settles_leaves_nothing_running(agency: Agency) -> None:
    failing, hanging = PAIRS[0]
    agency.world.script(failing, then=refuse)
    agency.world.script(hanging, then=hang)
    end = await agency.run(policies=Policies(settle=timedelta(seconds=2)), deadline=timedelta(seconds=1))
    assert (end.code, end.log.state) == (DEADLINE_EXCEEDED, State.ROLLED_BACK)
    assert expect.entry_of(end, hanging).status is Status.UNKNOWN
    expect.nothing_is_open(end)


async def test_the_steps_of_a_branch_are_undone_in_reverse_inside_it(agency: Agency) -> None:
    failing = sorted(siblings_of(NESTED[0].name))[0]
    gate = agency.world.gate(failing, then=refuse)
    handle = await agency.start()
    await agency.until_known(handle, [step.name for step in NESTED])
    gate.open.set()
    end = await agency.end(handle)
    undos = [step.undo.name for step in reversed(NESTED) if step.undo]
    assert [name for name in agency.world.undone if name in undos] == undos
    expect.rolled_back_from(agency, end, failing, SOLD_OUT, undone_too=False)


@pytest.mark.parametrize("step", [step.name for step in NESTED])
async def test_what_a_branch_did_before_its_own_refusal_is_undone_with_the_group(agency: Agency, step: str) -> None:
    agency.world.script(step, then=refuse)
    end = await agency.run()
    assert expect.in_order(agency.world.undone, unwinding_from(step, undone_too=False))
    assert end.code == SOLD_OUT
