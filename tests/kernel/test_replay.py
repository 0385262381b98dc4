"""No worker remembers anything here: every workflow task, and every answer, is rebuilt from history."""

from __future__ import annotations

from datetime import timedelta

import pytest

from saga import State
from saga.interruption import DEADLINE_EXCEEDED
from saga.outcome import CANCELLED, SERVICE_UNAVAILABLE

from . import expect
from .agency import Agency, both_orders
from .plan import PIVOT, PLAN, STEPS, branches, unwinding_of_all
from .test_cancel import by_business, by_temporal
from .test_deadline import MINUTE, STUBBORN
from .test_parallel import PAIRS, UNHURRIED
from .world import SOLD_OUT, Effect, fail, hang, refuse, work

every_step = pytest.mark.parametrize("step", [step.name for step in STEPS])
every_part = pytest.mark.parametrize("step", [branches(part)[-1][-1].name for part in PLAN])
"""A step of each: a worker without a memory takes its time."""


@pytest.fixture
def max_cached_workflows() -> int:
    return 0


@every_part
async def test_a_rollback_is_replayed(agency: Agency, step: str) -> None:
    agency.world.script(step, then=fail)
    handle = await agency.start()
    end = await agency.end(handle)
    expect.rolled_back_from(agency, end, step, SERVICE_UNAVAILABLE, undone_too=True)
    await agency.replay(handle)


@every_part
async def test_a_cancel_by_the_business_is_replayed(agency: Agency, step: str) -> None:
    handle, _ = await agency.stop_at(step)
    await by_business(handle)
    end = await agency.end(handle)
    expect.rolled_back_from(agency, end, step, CANCELLED, undone_too=True, blamed=False)
    await agency.replay(handle)


@every_step
async def test_a_cancel_is_replayed(agency: Agency, step: str) -> None:
    handle, _ = await agency.stop_at(step)
    await by_temporal(handle)
    end = await agency.end(handle)
    expect.rolled_back_from(agency, end, step, CANCELLED, undone_too=True, blamed=False)
    await agency.replay(handle)


@every_part
async def test_a_deadline_is_replayed(agency: Agency, step: str) -> None:
    agency.world.script(step, then=fail)
    handle = await agency.start(deadline=MINUTE, policies=STUBBORN)
    end = await agency.end(handle)
    expect.rolled_back_from(agency, end, step, DEADLINE_EXCEEDED, undone_too=True, blamed=False)
    await agency.replay(handle)


@both_orders
async def test_a_group_that_is_cancelled_while_it_settles_is_replayed(agency: Agency) -> None:
    failing, hanging = PAIRS[0]
    agency.world.script(failing, then=refuse)
    agency.world.script(hanging, then=hang)
    handle = await agency.start(policies=UNHURRIED)
    await agency.until_known(handle, [failing])
    await by_temporal(handle)
    end = await agency.end(handle)
    assert (end.code, end.log.state) == (CANCELLED, State.ROLLED_BACK)
    assert agency.world.of(Effect.HELD) == {"mail.regrets"}
    await agency.replay(handle)


async def test_a_parked_rollback_is_replayed(agency: Agency) -> None:
    undo = unwinding_of_all()[-1][0][0]
    agency.world.script(PIVOT.name, then=refuse)
    agency.world.script(undo, then=fail)
    handle = await agency.start()
    await agency.later(timedelta(hours=1))
    assert (await agency.log(handle)).state is State.PARKED
    await agency.replay(handle)
    agency.world.script(undo, then=work)
    end = await agency.end(handle)
    expect.rolled_back(agency, end, SOLD_OUT, unwinding_of_all(), step=PIVOT.name)
    await agency.replay(handle)


@both_orders
async def test_a_parked_pivot_that_survives_a_cancel_is_replayed(agency: Agency) -> None:
    agency.world.script(PIVOT.name, then=fail)
    handle = await agency.start(deadline=MINUTE)
    await agency.later(timedelta(hours=1))
    await by_temporal(handle)
    await agency.until_known(handle)
    assert (await agency.log(handle)).state is State.PARKED
    agency.world.script(PIVOT.name, then=work)
    expect.confirmed(agency, await agency.end(handle))
    await agency.replay(handle)
