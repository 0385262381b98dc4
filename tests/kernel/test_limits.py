"""What Temporal bounds: a saga in trouble for a year must still be able to end."""

from __future__ import annotations

from datetime import timedelta

from saga import Policies, Policy, State

from . import expect
from .agency import Agency
from .plan import PIVOT
from .world import fail, work

ONE_TRY = Policies(finish=Policy(attempt_timeout=timedelta(seconds=10), attempts=1, total=timedelta(seconds=30)))
"""The attempts of a round are one event in the history however many they are; one is enough here."""
MOST_EVENTS = 20_000
"""In a year of trouble. Temporal ends a workflow at 51,200."""


async def test_a_year_of_trouble_stays_far_below_the_limit_of_history(agency: Agency) -> None:
    """A month of it is measured: the pauses only grow, so no later month has more rounds than the first."""
    agency.world.script(PIVOT.name, then=fail)
    handle = await agency.start(policies=ONE_TRY)
    await agency.later(timedelta(days=31))
    assert (await agency.log(handle)).state is State.PARKED
    rounds = agency.world.calls.count(PIVOT.name)
    agency.world.script(PIVOT.name, then=work)
    expect.confirmed(agency, await agency.end(handle))
    events = len((await handle.fetch_history()).events)
    assert rounds > 31 * 4, "a round every six hours"
    assert events * 12 < MOST_EVENTS, f"{events} events in {rounds} rounds of a month"
