"""Temporal's limits: a saga whose calls fail for a year must still be able to end."""

from datetime import timedelta

import pytest

from temporal_saga import Policies, Policy, State, Status

from . import expect
from .harness import Handle, Harness
from .plan import PIVOT, UNDOS
from .services import fail, refuse, work

pytestmark = pytest.mark.slow

ONE_TRY = Policies(
    finish=Policy(attempt_timeout=timedelta(seconds=10), attempts=1, total=timedelta(seconds=30)),
    undo=Policy(attempt_timeout=timedelta(seconds=10), attempts=1, total=timedelta(seconds=30)),
)
"""The attempts of a round are one event in the history however many they are; one is enough here."""
MOST_EVENTS = 51_200 // 2
"""Limit on the events of a year of failures. Temporal ends a workflow at 51,200."""
WEEK = timedelta(days=7)
AT_ONCE = UNDOS[:4]
"""As many undos as an order can have parked at once."""


async def _events(handle: Handle) -> int:
    return len((await handle.fetch_history()).events)


async def _events_of_a_year(harness: Harness, handle: Handle) -> int:
    """Measure the first week, and the second for all others: the pauses only grow."""
    await harness.later(WEEK)
    first = await _events(handle)
    await harness.later(WEEK)
    second = await _events(handle) - first
    assert second > 6 * 10, "a round every day"
    return first + 52 * second


async def test_a_year_of_a_parked_pivot_stays_far_below_the_limit_of_history(harness: Harness) -> None:
    harness.services.script(PIVOT.name, then=fail)
    handle = await harness.start(policies=ONE_TRY)
    assert await _events_of_a_year(harness, handle) < MOST_EVENTS
    assert (await harness.log(handle)).state is State.PARKED
    harness.services.script(PIVOT.name, then=work)
    expect.confirmed(harness, await harness.end(handle))


@pytest.mark.long  # load
async def test_a_year_of_everything_parked_stays_far_below_the_limit_of_history(harness: Harness) -> None:
    harness.services.script(PIVOT.name, then=refuse)
    for undo in AT_ONCE:
        harness.services.script(undo.name, then=fail)
    handle = await harness.start(policies=ONE_TRY)
    assert await _events_of_a_year(harness, handle) < MOST_EVENTS
    log = await harness.log(handle)
    assert {entry.step for entry in log.steps if entry.status is Status.PARKED} == {undo.name for undo in AT_ONCE}
    for undo in AT_ONCE:
        harness.services.script(undo.name, then=work)
    expect.rolled_back(harness, await harness.end(handle), "SOLD_OUT", step=PIVOT.name)
