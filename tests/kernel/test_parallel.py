"""Parallel groups in which a call fails while another runs. No call of a group may go on beside its rollback."""

from datetime import timedelta

import pytest

from temporal_saga import DEADLINE_EXCEEDED, Policies, State, Status
from temporal_saga.outcome import CANCELLED

from . import expect
from .cancels import Cancel, by_business, by_temporal
from .harness import Harness
from .plan import PAIRS
from .policies import LONG_SETTLE, MEDIUM_SETTLE, SHORT_SETTLE
from .services import SOLD_OUT, Effect, hang, refuse

pairs = pytest.mark.parametrize(("failing", "hanging"), PAIRS)


@pairs
async def test_a_call_that_does_not_settle_is_given_up_and_undone(harness: Harness, failing: str, hanging: str) -> None:
    harness.services.script(failing, then=refuse)
    harness.services.script(hanging, then=hang)
    end = await harness.run(policies=SHORT_SETTLE)
    assert (end.code, end.log.state) == (SOLD_OUT, State.ROLLED_BACK)
    assert harness.services.of(Effect.HELD) == {"mail.regrets"}
    assert hanging in harness.services.of(Effect.TOMBSTONE), "its outcome is unknown: the undo closes the door"
    entry = expect.entry_of(end, hanging)
    assert (entry.status, entry.error_code) == (Status.UNKNOWN, CANCELLED)
    assert "car.hold" not in harness.services.calls
    expect.nothing_is_open(end)


@pairs
async def test_a_call_that_settles_in_time_is_known_and_undone(harness: Harness, failing: str, hanging: str) -> None:
    harness.services.script(failing, then=refuse)
    gate = harness.services.gate(hanging)
    handle = await harness.start(policies=LONG_SETTLE)
    await harness.until_known(handle, [failing])
    gate.open.set()
    end = await harness.end(handle)
    expect.rolled_back(harness, end, SOLD_OUT, step=failing)
    assert expect.entry_of(end, hanging).status is Status.DONE


@pytest.mark.slow
@pytest.mark.parametrize("cancel", [by_business, by_temporal])
async def test_a_cancel_while_a_group_settles_leaves_nothing_running(harness: Harness, cancel: Cancel) -> None:
    failing, hanging = PAIRS[0]
    harness.services.script(failing, then=refuse)
    harness.services.script(hanging, then=hang)
    handle = await harness.start(policies=MEDIUM_SETTLE)
    await harness.until_known(handle, [failing])
    await cancel(handle)
    end = await harness.end(handle)
    assert (end.code, end.log.state) == (CANCELLED, State.ROLLED_BACK)
    assert harness.services.of(Effect.HELD) == {"mail.regrets"}
    assert expect.entry_of(end, hanging).status is Status.UNKNOWN
    expect.nothing_is_open(end)


@pytest.mark.slow
async def test_a_deadline_while_a_group_settles_leaves_nothing_running(harness: Harness) -> None:
    failing, hanging = PAIRS[0]
    harness.services.script(failing, then=refuse)
    harness.services.script(hanging, then=hang)
    end = await harness.run(policies=Policies(settle=timedelta(seconds=2)), deadline=timedelta(seconds=1))
    assert (end.code, end.log.state) == (DEADLINE_EXCEEDED, State.ROLLED_BACK)
    assert expect.entry_of(end, hanging).status is Status.UNKNOWN
    expect.nothing_is_open(end)
