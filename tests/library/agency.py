"""A travel agency's services in memory, each with a fence. A test can leave a part of it out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from temporalio import activity
from temporalio.exceptions import ApplicationError

from temporal_saga import Operation

SERVICES = ("flight", "hotel", "car")
_ALL = (*SERVICES, "train", "boat", "mail")


@dataclass(frozen=True)
class Trip:
    trip_id: str


BOOK = {name: Operation(f"{name}.book", Trip, str, queue=name) for name in _ALL}
CANCEL = {name: Operation(f"{name}.cancel", Trip, str, queue=name, undoes=BOOK[name]) for name in _ALL}


class Agency:
    """Free places by service, and the trips that have one. `over` is the fence: bookings that were cancelled.

    Without `remembers`, a booking or a cancellation that comes twice takes effect twice.
    """

    def __init__(
        self, *, is_fenced: bool = True, remembers_bookings: bool = True, remembers_cancels: bool = True
    ) -> None:
        self.free = dict.fromkeys(_ALL, 5)
        self.booked: dict[str, list[str]] = {name: [] for name in _ALL}
        self._over = set[tuple[str, str]]()
        self._is_fenced = is_fenced
        self._remembers_bookings = remembers_bookings
        self._remembers_cancels = remembers_cancels

    def state(self) -> dict[str, Any]:
        return {name: {"free": self.free[name], "trips": self.booked[name]} for name in _ALL}

    def activities(self) -> Sequence[Callable[..., Any]]:
        return [make(name) for name in _ALL for make in (self._book, self._cancel)]

    def _book(self, service: str) -> Callable[..., Any]:
        @activity.defn(name=f"{service}.book")
        async def book(trip: Trip) -> str:
            if self._is_fenced and (service, trip.trip_id) in self._over:
                raise ApplicationError("this booking was cancelled", type="STEP_UNDONE", non_retryable=True)
            if trip.trip_id not in self.booked[service] or not self._remembers_bookings:
                self.booked[service].append(trip.trip_id)
                self.free[service] -= 1
            return "booked"

        return book

    def _cancel(self, service: str) -> Callable[..., Any]:
        @activity.defn(name=f"{service}.cancel")
        async def cancel(trip: Trip) -> str:
            self._over.add((service, trip.trip_id))
            if trip.trip_id in self.booked[service]:
                self.booked[service].remove(trip.trip_id)
                self.free[service] += 1
            elif not self._remembers_cancels:
                self.free[service] += 1
            return "cancelled"

        return cancel
