"""Announcements: that a saga is parked, goes on or has ended; at least once, in order, and only its end waits."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from temporalio import activity, workflow

from temporal_saga import (
    Announcement,
    AnnouncementKind,
    Announcements,
    Operation,
    Rounds,
    Saga,
    State,
    Status,
    TransactionLog,
)

from .harness import Harness
from .plan import FINISHES, PIVOT
from .policies import COLOCATED, ONE_ATTEMPT
from .services import Effect, FakeServices, fail, refuse
from .workflows import Trip, TripBase, served_here

_ANNOUNCE = Operation("trip.announce", Announcements, bool, queue="each test has its own")
_PARKED, _RECOVERED, _ENDED = AnnouncementKind.PARKED, AnnouncementKind.RECOVERED, AnnouncementKind.ENDED
_TICKET, _PAY = FINISHES


@workflow.defn
class AnnouncingWorkflow(TripBase):
    @workflow.init
    def __init__(self, trip: Trip) -> None:
        super().__init__(trip)
        announce = replace(_ANNOUNCE, queue=workflow.info().task_queue)
        body = self._body if trip.policies.are_colocated else None
        self.saga = Saga(trip.transaction_id, policies=trip.policies, body=body, announce=announce)

    @workflow.run
    async def run(self, _trip: Trip) -> TransactionLog:
        async with self.saga as saga:
            await self._body(saga)
            await saga.pivot(served_here(PIVOT), self._booking)
            await saga.parallel(*map(self._finish, FINISHES))
        return saga.log


class Listening(FakeServices):
    """The services of a trip, and one that is told. It fails so often first: before it has noted, or after."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[Announcement] = []
        self.fails = 0
        self.loses_replies = 0

    def activities(self) -> list[Callable[..., Any]]:
        return [*super().activities(), self.announce]

    @activity.defn(name="trip.announce")
    async def announce(self, request: Announcements) -> bool:
        if self.fails:
            self.fails -= 1
            raise ConnectionError("the service is down")
        self.told += request.announcements
        if self.loses_replies:
            self.loses_replies -= 1
            raise ConnectionError("done, but the line went dead")
        return True

    @property
    def states(self) -> list[tuple[AnnouncementKind, State, str | None]]:
        return [(each.kind, each.state, each.error_code) for each in self.told]


@pytest.fixture
def services() -> FakeServices:
    return Listening()


def told_in(harness: Harness) -> Listening:
    assert isinstance(harness.services, Listening)
    return harness.services


@pytest.mark.parametrize("policies", [ONE_ATTEMPT, COLOCATED])
async def test_a_confirmed_saga_announces_its_end_alone(harness: Harness, policies: Any) -> None:
    end = await harness.run(AnnouncingWorkflow, policies=policies)
    assert end.log.state is State.CONFIRMED
    assert told_in(harness).states == [(_ENDED, State.CONFIRMED, None)]
    assert not any(entry.step == _ANNOUNCE.name for entry in end.log.steps)


async def test_a_saga_that_is_parked_announces_it_with_the_step_and_later_that_it_goes_on_and_ends(
    harness: Harness,
) -> None:
    harness.services.script(PIVOT.name, then=refuse)
    harness.services.script("car.release", fail)
    handle = await harness.start(AnnouncingWorkflow, policies=ONE_ATTEMPT)
    await harness.end(handle)
    services = told_in(harness)
    assert services.states == [
        (_PARKED, State.PARKED, "SOLD_OUT"),
        (_RECOVERED, State.COMPENSATING, "SOLD_OUT"),
        (_ENDED, State.ROLLED_BACK, "SOLD_OUT"),
    ]
    [parked] = services.told[0].parked
    assert (parked.step, parked.service, parked.error_code) == ("car.release", "car", "SERVICE_UNAVAILABLE")
    run = handle.first_execution_run_id
    assert [each.key for each in services.told] == [f"{run}-1", f"{run}-2", f"{run}-3"]


async def test_a_second_parked_call_of_a_parked_saga_is_not_announced(harness: Harness) -> None:
    harness.services.script(_TICKET.name, fail, fail)
    harness.services.script(_PAY.name, fail, fail, fail)
    await harness.run(AnnouncingWorkflow, policies=ONE_ATTEMPT)
    assert [kind for kind, *_ in told_in(harness).states] == [_PARKED, _RECOVERED, _ENDED]


async def test_an_announcement_whose_reply_is_lost_is_made_again_with_the_same_key(harness: Harness) -> None:
    told_in(harness).loses_replies = 1
    await harness.run(AnnouncingWorkflow)
    [first, second] = told_in(harness).told
    assert first == second


async def test_announcements_that_fail_hold_up_no_undo_and_are_made_in_order_when_they_can_be(harness: Harness) -> None:
    services = told_in(harness)
    harness.services.script(PIVOT.name, then=refuse)
    harness.services.script("car.release", fail)
    services.fails = 1_000
    soon = replace(ONE_ATTEMPT, rounds=Rounds(first_pause=timedelta(seconds=1)))
    handle = await harness.start(AnnouncingWorkflow, policies=soon)
    log = await harness.until_log(handle, lambda log: log.state is State.ROLLED_BACK)
    assert all(entry.status in (Status.DONE, Status.REFUSED) for entry in log.steps)
    assert services.of(Effect.HELD) == {"mail.regrets"}
    assert services.states == []
    services.fails = 0
    await harness.end(handle)
    assert [kind for kind, *_ in services.states] == [_PARKED, _RECOVERED, _ENDED]


async def test_a_workflow_that_is_cancelled_makes_its_announcements(harness: Harness) -> None:
    services = told_in(harness)
    services.fails = 1_000
    handle = await harness.start(AnnouncingWorkflow, policies=ONE_ATTEMPT)
    await harness.until_log(handle, lambda log: log.state is State.CONFIRMED)
    await handle.cancel()
    services.fails = 0
    await harness.end(handle)
    assert services.states == [(_ENDED, State.CONFIRMED, None)]
