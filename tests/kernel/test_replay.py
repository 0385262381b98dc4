"""Sagas on workers without a cache: every workflow task and every query is replayed from history."""

from __future__ import annotations

from datetime import timedelta

import pytest

from saga import DEADLINE_EXCEEDED, State
from saga.outcome import CANCELLED, SERVICE_UNAVAILABLE

from . import expect
from .cancels import by_business, by_temporal
from .harness import Harness, both_orders
from .plan import PAIRS, PIVOT, PLAN, STEPS, branches, unwinding_of_all
from .policies import MANY_ATTEMPTS, MEDIUM_SETTLE, MINUTE
from .services import SOLD_OUT, Effect, fail, hang, refuse, work

every_step = pytest.mark.parametrize("step", [step.name for step in STEPS])
every_part = pytest.mark.parametrize("step", [branches(part)[-1][-1].name for part in PLAN])
"""One step of each part: a worker without a cache is slow."""


@pytest.fixture
def max_cached_workflows() -> int:
    return 0


@every_part
async def test_a_rollback_is_replayed(harness: Harness, step: str) -> None:
    harness.services.script(step, then=fail)
    handle = await harness.start()
    end = await harness.end(handle)
    expect.rolled_back_from(harness, end, step, SERVICE_UNAVAILABLE, undone_too=True)
    await harness.replay(handle)


@every_part
async def test_a_cancel_by_the_business_is_replayed(harness: Harness, step: str) -> None:
    handle, _ = await harness.stop_at(step)
    await by_business(handle)
    end = await harness.end(handle)
    expect.rolled_back_from(harness, end, step, CANCELLED, undone_too=True, blamed=False)
    await harness.replay(handle)


@every_step
async def test_a_cancel_is_replayed(harness: Harness, step: str) -> None:
    handle, _ = await harness.stop_at(step)
    await by_temporal(handle)
    end = await harness.end(handle)
    expect.rolled_back_from(harness, end, step, CANCELLED, undone_too=True, blamed=False)
    await harness.replay(handle)


@every_part
async def test_a_deadline_is_replayed(harness: Harness, step: str) -> None:
    harness.services.script(step, then=fail)
    handle = await harness.start(deadline=MINUTE, policies=MANY_ATTEMPTS)
    end = await harness.end(handle)
    expect.rolled_back_from(harness, end, step, DEADLINE_EXCEEDED, undone_too=True, blamed=False)
    await harness.replay(handle)


@both_orders
async def test_a_group_that_is_cancelled_while_it_settles_is_replayed(harness: Harness) -> None:
    failing, hanging = PAIRS[0]
    harness.services.script(failing, then=refuse)
    harness.services.script(hanging, then=hang)
    handle = await harness.start(policies=MEDIUM_SETTLE)
    await harness.until_known(handle, [failing])
    await by_temporal(handle)
    end = await harness.end(handle)
    assert (end.code, end.log.state) == (CANCELLED, State.ROLLED_BACK)
    assert harness.services.of(Effect.HELD) == {"mail.regrets"}
    await harness.replay(handle)


async def test_a_parked_rollback_is_replayed(harness: Harness) -> None:
    undo = unwinding_of_all()[-1][0][0]
    harness.services.script(PIVOT.name, then=refuse)
    harness.services.script(undo, then=fail)
    handle = await harness.start()
    await harness.later(timedelta(hours=1))
    assert (await harness.log(handle)).state is State.PARKED
    await harness.replay(handle)
    harness.services.script(undo, then=work)
    end = await harness.end(handle)
    expect.rolled_back(harness, end, SOLD_OUT, unwinding_of_all(), step=PIVOT.name)
    await harness.replay(handle)


@both_orders
async def test_a_parked_pivot_that_survives_a_cancel_is_replayed(harness: Harness) -> None:
    harness.services.script(PIVOT.name, then=fail)
    handle = await harness.start(deadline=MINUTE)
    await harness.later(timedelta(hours=1))
    await by_temporal(handle)
    await harness.until_known(handle)
    assert (await harness.log(handle)).state is State.PARKED
    harness.services.script(PIVOT.name, then=work)
    expect.confirmed(harness, await harness.end(handle))
    await harness.replay(handle)
