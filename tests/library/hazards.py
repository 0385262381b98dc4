"""The sagas of docs/library/hazards.md: plain ones, each with one hazard, and the same on the kernel.

Those that `sagas` has are not repeated here.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from temporalio import activity, workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError

from temporal_saga import CancellableSagaWorkflow, Refusal, StepFailed

from . import agency
from .agency import Trip
from .sagas import FAILURES, SOON, Undos, attempt, to_the_end, undo_all

DAY = timedelta(days=1)
BOOK = {name: replace(booking, queue="") for name, booking in agency.BOOK.items()}
CANCEL = {name: replace(undo, queue="", undoes=BOOK[name]) for name, undo in agency.CANCEL.items()}
"""On the workflow's own queue."""


class Hotel:
    """A service that trusts Temporal to call it once, and in order. `guests` is its state: who has which room."""

    def __init__(self) -> None:
        self.guests: dict[int, str] = {}

    @activity.defn(name="take_room")
    async def take_room(self, guest: str) -> int:
        number = len(self.guests) + 1
        self.guests[number] = guest
        return number

    @activity.defn(name="give_back")
    async def give_back(self, number: int) -> None:
        self.guests.pop(number, None)

    @activity.defn(name="give_back_of")
    async def give_back_of(self, guest: str) -> None:
        self.guests = {number: who for number, who in self.guests.items() if who != guest}

    @activity.defn(name="take_table")
    async def take_table(self, guest: str) -> None:
        """There is always one."""

    def state(self) -> dict[str, list[str]]:
        return {"rooms": sorted(self.guests.values())}

    def activities(self) -> Sequence[Callable[..., Any]]:
        return [self.take_room, self.give_back, self.give_back_of, self.take_table]


class IdempotentHotel(Hotel):
    """A second request of a guest takes no second room."""

    @activity.defn(name="take_room")
    async def take_room(self, guest: str) -> int:
        for number, who in self.guests.items():
            if who == guest:
                return number
        return await super().take_room(guest)


class FencedHotel(IdempotentHotel):
    """In memory, what `temporal_saga.fence.sql` does in a database: a request after its undo is refused."""

    def __init__(self) -> None:
        super().__init__()
        self._over: set[str] = set()

    @activity.defn(name="take_room")
    async def take_room(self, guest: str) -> int:
        if guest in self._over:
            raise Refusal("STEP_UNDONE", "this room was given back")
        return await super().take_room(guest)

    @activity.defn(name="give_back_of")
    async def give_back_of(self, guest: str) -> None:
        self._over.add(guest)
        await super().give_back_of(guest)


@workflow.defn
class RoomByNumber:
    """The undo needs what the step has answered."""

    @workflow.run
    async def run(self, guest: str) -> None:
        few: dict[str, Any] = {"start_to_close_timeout": SOON, "retry_policy": RetryPolicy(maximum_attempts=3)}
        room = await workflow.execute_activity_method(Hotel.take_room, guest, **few)
        try:
            await workflow.execute_activity_method(Hotel.take_table, guest, **few)
        except FAILURES:
            await to_the_end(workflow.execute_activity_method(Hotel.give_back, room, start_to_close_timeout=SOON))
            raise


@workflow.defn
class RoomByGuest(CancellableSagaWorkflow):
    """The undo has the request of its step."""

    @workflow.run
    async def run(self, guest: str) -> None:
        async with self.saga as saga:
            await saga.step(Hotel.take_room, guest, undo=Hotel.give_back_of)
            await saga.pivot(Hotel.take_table, guest)


class Approved:
    """The state of a workflow that waits for an approval."""

    def __init__(self) -> None:
        super().__init__()
        self.is_approved = False

    @workflow.signal
    def approve(self) -> None:
        self.is_approved = True


@workflow.defn
class CancelledInAWait(Approved):
    """`except Exception` does not catch a cancellation: `asyncio.CancelledError` is a `BaseException`."""

    @workflow.run
    async def run(self, trip: Trip) -> None:
        undos: Undos = []
        try:
            undos.append(CANCEL["flight"])
            await attempt(BOOK["flight"], trip)
            await workflow.wait_condition(lambda: self.is_approved)
            await attempt(BOOK["car"], trip)
        except Exception:
            await undo_all(reversed(undos), trip)
            raise


@workflow.defn
class ApprovedTrip(Approved, CancellableSagaWorkflow):
    @workflow.run
    async def run(self, trip: Trip) -> None:
        async with self.saga as saga:
            await saga.step(BOOK["flight"], trip, undo=CANCEL["flight"])
            await saga.wait_for(lambda: self.is_approved, name="approval", timeout=DAY)
            await saga.pivot(BOOK["car"], trip)


@workflow.defn
class CarIfThereIsOne(CancellableSagaWorkflow):
    """A call that may fail says so."""

    @workflow.run
    async def run(self, trip: Trip) -> None:
        async with self.saga as saga:
            await saga.step(BOOK["flight"], trip, undo=CANCEL["flight"])
            await saga.step(BOOK["hotel"], trip, undo=CANCEL["hotel"])
            await saga.best_effort(BOOK["car"], trip)


class Bank:
    """Charges by idempotency key: the same key again charges nothing."""

    def __init__(self) -> None:
        self.charges: set[str] = set()

    @activity.defn
    async def charge(self, key: str) -> None:
        self.charges.add(key)


@workflow.defn
class ChargedByRun(Approved):
    @workflow.run
    async def run(self, _: Trip) -> None:
        key = f"{workflow.info().run_id}/charge"
        await workflow.execute_activity_method(Bank.charge, key, start_to_close_timeout=SOON)
        await workflow.wait_condition(lambda: self.is_approved)


@workflow.defn
class ChargedByTransaction(Approved, CancellableSagaWorkflow):
    @workflow.run
    async def run(self, _: Trip) -> None:
        async with self.saga as saga:
            await saga.pivot(Bank.charge, f"{saga.log.transaction_id}/charge")
            await workflow.wait_condition(lambda: self.is_approved)


@workflow.defn
class TimeoutTakenForANo:
    """No answer is taken for a no."""

    @workflow.run
    async def run(self, trip: Trip) -> None:
        try:
            await attempt(BOOK["train"], trip)
        except ActivityError:
            await attempt(BOOK["boat"], trip)


@workflow.defn
class UnknownIsUndone(CancellableSagaWorkflow):
    @workflow.run
    async def run(self, trip: Trip) -> None:
        async with self.saga as saga:
            point = saga.savepoint("train")
            try:
                await saga.step(BOOK["train"], trip, undo=CANCEL["train"])
            except StepFailed:
                await saga.undo_to(point)
                await saga.step(BOOK["boat"], trip, undo=CANCEL["boat"])


@workflow.defn
class Gathered:
    """`gather` raises the first failure, and lets the other branches run on."""

    @workflow.run
    async def run(self, trip: Trip) -> None:
        undos: Undos = []

        async def book(*names: str) -> None:
            for name in names:
                undos.append(CANCEL[name])
                await attempt(BOOK[name], trip)

        try:
            await asyncio.gather(book("flight"), book("hotel", "car"))
        except FAILURES:
            await to_the_end(undo_all(list(reversed(undos)), trip))
            raise


@workflow.defn
class SideBySide(CancellableSagaWorkflow):
    @workflow.run
    async def run(self, trip: Trip) -> None:
        async with self.saga as saga:

            async def book(*names: str) -> None:
                for name in names:
                    await saga.step(BOOK[name], trip, undo=CANCEL[name])

            await saga.parallel(book("flight"), book("hotel", "car"))


@workflow.defn
class DecisionRolledBack:
    """The train ticket cannot be given back. It was bought, and the flight to it is cancelled."""

    @workflow.run
    async def run(self, trip: Trip) -> None:
        undos: Undos = []
        try:
            undos.append(CANCEL["flight"])
            await attempt(BOOK["flight"], trip)
            await attempt(BOOK["train"], trip)
        except FAILURES:
            await to_the_end(undo_all(reversed(undos), trip))
            raise


@workflow.defn
class Decision(CancellableSagaWorkflow):
    @workflow.run
    async def run(self, trip: Trip) -> None:
        async with self.saga as saga:
            await saga.step(BOOK["flight"], trip, undo=CANCEL["flight"])
            await saga.pivot(BOOK["train"], trip)


@workflow.defn
class NoEndOfRetries:
    """Temporal's default retry policy has no end, and this call no other bound."""

    @workflow.run
    async def run(self, trip: Trip) -> None:
        undos: Undos = []
        try:
            undos.append(CANCEL["flight"])
            await attempt(BOOK["flight"], trip)
            await workflow.execute_activity(BOOK["car"].name, trip, start_to_close_timeout=SOON)
        except FAILURES:
            await to_the_end(undo_all(reversed(undos), trip))
            raise


@workflow.defn
class BoundedRetries(CancellableSagaWorkflow):
    @workflow.run
    async def run(self, trip: Trip) -> None:
        async with self.saga as saga:
            await saga.step(BOOK["flight"], trip, undo=CANCEL["flight"])
            await saga.step(BOOK["car"], trip, undo=CANCEL["car"], within=timedelta(minutes=2))
