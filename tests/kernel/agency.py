"""A trip whose services are plain activities: nothing is declared that an activity knows already."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from temporalio import activity, workflow
from temporalio.exceptions import ApplicationError

from temporal_saga import Plan, Saga


@dataclass
class Booked:
    trip: str
    place: str


@dataclass
class Agency:
    """Services of a trip, as methods and functions. `calls` has each call that got through, in order."""

    full: str = ""
    calls: list[str] = field(default_factory=list)

    @activity.defn
    async def book_flight(self, trip: str) -> Booked:
        return self._done("book_flight", trip)

    @activity.defn
    async def cancel_flight(self, trip: str) -> None:
        self._done("cancel_flight", trip)

    @activity.defn(name="hotel.book")
    async def book_hotel(self, trip: str) -> Booked:
        return self._done("hotel.book", trip)

    @activity.defn(name="hotel.cancel")
    async def cancel_hotel(self, trip: str) -> None:
        self._done("hotel.cancel", trip)

    def _done(self, name: str, trip: str) -> Booked:
        if name == self.full:
            raise ApplicationError("fully booked", type="FULL", non_retryable=True)
        self.calls.append(name)
        return Booked(trip, name)

    def served(self) -> list[Callable[..., Any]]:
        return [self.book_flight, self.cancel_flight, self.book_hotel, self.cancel_hotel, confirm, ticket, tell]


@activity.defn
async def confirm(trip: str) -> str:
    return f"{trip} confirmed"


@activity.defn
async def ticket(trip: str) -> str:
    return f"ticket of {trip}"


@activity.defn
async def tell(trip: str) -> None:
    pass


async def body(saga: Saga | Plan, trip: str) -> str:
    flight = await saga.step(Agency.book_flight, trip, undo=Agency.cancel_flight)
    await saga.step(Agency.book_hotel, trip, undo=Agency.cancel_hotel)
    await saga.pivot(confirm, trip)
    ticketed = await saga.finish(ticket, trip)
    await saga.best_effort(tell, trip)
    return f"{ticketed}, {flight.place}" if flight else ""


@workflow.defn
class PlainTripWorkflow:
    @workflow.run
    async def run(self, trip: str) -> str:
        async with Saga(trip, deadline=timedelta(minutes=1)) as saga:
            saga.on_rollback(tell, trip)
            return await body(saga, trip)
        raise AssertionError("a saga that is rolled back raises")
