"""The example of docs/library/testing.md, as it stands there. `test_harness` runs pytest on it."""

import asyncio

import pytest
from temporalio import activity, workflow

from temporal_saga import CancellableSagaWorkflow, Refusal
from temporal_saga.testing import SagaUnderTest, Verdict, check, every_fault


class Agency:
    """Fakes with real state: who has a seat and who has a room. `over` is the fence: what was cancelled."""

    def __init__(self) -> None:
        self.seats: set[str] = set()
        self.rooms: set[str] = set()
        self.over: set[tuple[str, str]] = set()

    @activity.defn
    async def book_flight(self, trip: str) -> None:
        if ("flight", trip) in self.over:
            raise Refusal("STEP_UNDONE", "this flight was cancelled")
        self.seats.add(trip)

    @activity.defn
    async def cancel_flight(self, trip: str) -> None:
        self.over.add(("flight", trip))
        self.seats.discard(trip)

    @activity.defn
    async def book_hotel(self, trip: str) -> None:
        if ("hotel", trip) in self.over:
            raise Refusal("STEP_UNDONE", "this room was cancelled")
        self.rooms.add(trip)

    @activity.defn
    async def cancel_hotel(self, trip: str) -> None:
        self.over.add(("hotel", trip))
        self.rooms.discard(trip)

    def state(self) -> dict[str, set[str]]:
        return {"flight": self.seats, "hotel": self.rooms}


@workflow.defn
class TripWorkflow(CancellableSagaWorkflow):
    @workflow.run
    async def run(self, trip: str) -> None:
        async with self.saga as saga:
            await saga.step(Agency.book_flight, trip, undo=Agency.cancel_flight)
            await saga.step(Agency.book_hotel, trip, undo=Agency.cancel_hotel)


def trip() -> SagaUnderTest:
    """The saga with new services: it is called for each case."""
    agency = Agency()
    return SagaUnderTest(
        workflow=TripWorkflow.run,
        input=lambda case: case,  # an id, new in each case
        activities=[agency.book_flight, agency.cancel_flight, agency.book_hotel, agency.cancel_hotel],
        state=agency.state,
    )


@every_fault(trip)
def test_a_trip_is_all_booked_or_all_cancelled(verdict: Verdict) -> None:
    """Each case has passed when this code runs. It may check more."""


def test_a_check_without_pytest_runs_the_same_cases(capsys: pytest.CaptureFixture[str]) -> None:
    report = asyncio.run(check(trip))
    print(report)  # a line for each case
    assert report.is_good
    assert "ok  book_flight refused" in capsys.readouterr().out
