"""The example of docs/library/how-to.md: a parcel that a person approves and that one of two couriers takes abroad."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from temporalio import activity, workflow

from temporal_saga import (
    POLICIES,
    CancellableSagaWorkflow,
    Plan,
    Saga,
    Step,
    StepFailed,
    StillWorking,
    TransactionLog,
    run_in_order,
)

DAY = timedelta(days=1)


@dataclass
class Booking:
    number: int


@dataclass
class Services:
    """The services in memory. `questions` is how often customs say that they are still working."""

    questions: int = 0
    customs_refuse: bool = False
    bookings: dict[str, Booking] = field(default_factory=dict)
    calls: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    @activity.defn
    async def pack(self, parcel: str) -> None:
        self.calls[parcel].append("pack")

    @activity.defn
    async def unpack(self, parcel: str) -> None:
        self.calls[parcel].append("unpack")

    @activity.defn
    async def book_courier(self, parcel: str) -> Booking:
        self.calls[parcel].append("book_courier")
        return self.bookings.setdefault(parcel, Booking(len(self.bookings) + 1))

    @activity.defn
    async def cancel_courier(self, parcel: str, booked: Booking | None) -> None:
        booking = booked or self.bookings.get(parcel)  # the reply may be lost: the request must do
        self.calls[parcel].append(f"cancel_courier {booking.number if booking else None}")
        self.bookings.pop(parcel, None)

    @activity.defn
    async def declare(self, parcel: str) -> None:
        self.calls[parcel].append("declare")
        if self._is_open(parcel):
            raise StillWorking(ask_again_in=timedelta(minutes=10))

    @activity.defn
    async def withdraw(self, parcel: str) -> None:
        self.calls[parcel].append("withdraw")

    @activity.defn
    async def post(self, parcel: str) -> None:
        self.calls[parcel].append("post")

    @activity.defn
    async def send(self, parcel: str) -> None:
        self.calls[parcel].append("send")

    def _is_open(self, parcel: str) -> bool:
        """Whether customs have not decided about this parcel yet. The first call declares it."""
        return self.calls[parcel].count("declare") <= self.questions

    def served(self) -> list[Callable[..., Any]]:
        forward = [self.pack, self.book_courier, self.declare, self.post, self.send]
        return [*forward, self.unpack, self.cancel_courier, self.withdraw]


@workflow.defn
class ParcelWorkflow(CancellableSagaWorkflow):
    def __init__(self) -> None:
        self.saga = Saga(deadline=timedelta(days=3))
        self.approved_by: str | None = None

    @workflow.update
    def approve(self, person: str) -> None:
        self.approved_by = person

    @workflow.run
    async def run(self, parcel: str) -> TransactionLog:
        async with self.saga as saga:
            await saga.step(Services.pack, parcel, undo=Services.unpack)
            await saga.wait_for(lambda: self.approved_by, name="approval", timeout=DAY)
            point = saga.savepoint("courier")
            try:
                await saga.step(Services.book_courier, parcel, undo=Services.cancel_courier)
                await saga.step(Services.declare, parcel, undo=Services.withdraw, within=timedelta(hours=1))
            except StepFailed:
                await saga.undo_to(point)
                await saga.step(Services.post, parcel)
            await saga.pivot(Services.send, parcel)
        return saga.log


@workflow.defn
class UnattendedParcelWorkflow(ParcelWorkflow):
    @workflow.run
    async def run(self, parcel: str) -> TransactionLog:
        async with self.saga as saga:
            person = await saga.wait_for(lambda: self.approved_by, name="approval", timeout=DAY, otherwise="nobody")
            await saga.pivot(Services.send if person != "nobody" else Services.unpack, parcel)
        return saga.log


@workflow.defn
class ListedParcelWorkflow(CancellableSagaWorkflow):
    """A saga as data: the same as in code, but its steps may come from a document."""

    @workflow.run
    async def run(self, parcel: str) -> TransactionLog:
        steps = [
            Step(Services.pack, Services.unpack, parcel, timeout=timedelta(minutes=1)),
            Step(Services.book_courier, Services.cancel_courier, parcel, timeout=timedelta(minutes=1)),
            Step(Services.send, None, parcel, timeout=timedelta(minutes=1)),
        ]
        async with self.saga as saga:
            await run_in_order(saga, steps)
        return saga.log


@workflow.defn
class ColocatedParcelWorkflow(CancellableSagaWorkflow):
    @workflow.init
    def __init__(self, parcel: str) -> None:
        self.saga = Saga(policies=POLICIES.colocated(), body=lambda plan: self._body(plan, parcel))

    @workflow.run
    async def run(self, parcel: str) -> TransactionLog:
        async with self.saga as saga:
            await self._body(saga, parcel)
        return saga.log

    async def _body(self, saga: Saga | Plan, parcel: str) -> None:
        await saga.step(Services.pack, parcel, undo=Services.unpack)
        await saga.step(Services.book_courier, parcel, undo=Services.cancel_courier)
        await saga.pivot(Services.send, parcel)


@workflow.defn(name="DeclaredParcelWorkflow")
class UndeclaredParcelWorkflow(CancellableSagaWorkflow):
    """The build before `DeclaredParcelWorkflow`."""

    @workflow.run
    async def run(self, parcel: str) -> TransactionLog:
        async with self.saga as saga:
            await saga.step(Services.pack, parcel, undo=Services.unpack)
            await saga.pivot(Services.send, parcel)
        return saga.log


@workflow.defn
class DeclaredParcelWorkflow(CancellableSagaWorkflow):
    @workflow.run
    async def run(self, parcel: str) -> TransactionLog:
        async with self.saga as saga:
            await saga.step(Services.pack, parcel, undo=Services.unpack)
            if saga.patched("customs"):
                await saga.step(Services.declare, parcel, undo=Services.withdraw)
            await saga.pivot(Services.send, parcel)
        return saga.log
