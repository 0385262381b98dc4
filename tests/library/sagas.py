"""Trips as sagas: two that are right, and those that people write, each with its one defect."""

import asyncio
from collections.abc import Iterable
from datetime import timedelta
from typing import Any, NoReturn

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError

from temporal_saga import CancellableSagaWorkflow, Operation, Saga, TransactionLog

from .agency import BOOK, CANCEL, SERVICES, Trip

Undos = list[Operation[Any, Any]]
FAILURES = (ActivityError, asyncio.CancelledError)
SOON = timedelta(seconds=5)


@workflow.defn
class TripWorkflow(CancellableSagaWorkflow):
    """On the kernel: right."""

    @workflow.init
    def __init__(self, trip: Trip) -> None:
        self._saga = Saga(trip.trip_id, deadline=timedelta(seconds=60))

    @property
    def observed(self) -> Saga:
        return self._saga

    @workflow.run
    async def run(self, trip: Trip) -> TransactionLog:
        async with self._saga as saga:
            for name in SERVICES:
                await saga.step(BOOK[name], trip, undo=CANCEL[name])
        return saga.log


@workflow.defn
class PlainTrip:
    """Without the kernel, and right too: an undo is registered first, is repeated until it is done, and nothing stops
    it. The other plain trips differ from it in one place each."""

    @workflow.run
    async def run(self, trip: Trip) -> str:
        undos: Undos = []
        try:
            for name in SERVICES:
                undos.append(CANCEL[name])
                await attempt(BOOK[name], trip)
        except FAILURES:
            await to_the_end(undo_all(reversed(undos), trip))
            raise
        return "booked"


@workflow.defn
class ForgottenUndo:
    """The hotel has no compensation."""

    @workflow.run
    async def run(self, trip: Trip) -> str:
        undos: Undos = []
        try:
            for name in SERVICES:
                if name != "hotel":
                    undos.append(CANCEL[name])
                await attempt(BOOK[name], trip)
        except FAILURES:
            await to_the_end(undo_all(reversed(undos), trip))
            raise
        return "booked"


@workflow.defn
class UndoRegisteredAfter:
    """A compensation is registered when its step has answered."""

    @workflow.run
    async def run(self, trip: Trip) -> str:
        undos: Undos = []
        try:
            for name in SERVICES:
                await attempt(BOOK[name], trip)
                undos.append(CANCEL[name])
        except FAILURES:
            await to_the_end(undo_all(reversed(undos), trip))
            raise
        return "booked"


@workflow.defn
class FailureSwallowed:
    """`except Exception` around a step that seemed unimportant. A cancelled activity raises one as well."""

    @workflow.run
    async def run(self, trip: Trip) -> str:
        undos: Undos = []
        try:
            for name in SERVICES:
                undos.append(CANCEL[name])
                try:
                    await attempt(BOOK[name], trip)
                except Exception:
                    if name != "car":
                        raise
                    workflow.logger.info("no car")
        except FAILURES:
            await to_the_end(undo_all(reversed(undos), trip))
            raise
        return "booked"


@workflow.defn
class UndoneInOrder:
    """Compensations run in the order of the steps."""

    @workflow.run
    async def run(self, trip: Trip) -> str:
        undos: Undos = []
        try:
            for name in SERVICES:
                undos.append(CANCEL[name])
                await attempt(BOOK[name], trip)
        except FAILURES:
            await to_the_end(undo_all(undos, trip))
            raise
        return "booked"


@workflow.defn
class UndoGivenUp:
    """A compensation that fails is logged and left."""

    @workflow.run
    async def run(self, trip: Trip) -> str:
        undos: Undos = []
        try:
            for name in SERVICES:
                undos.append(CANCEL[name])
                await attempt(BOOK[name], trip)
        except FAILURES:
            await to_the_end(self._undo(undos, trip))
            raise
        return "booked"

    async def _undo(self, undos: Undos, trip: Trip) -> None:
        for undo in reversed(undos):
            try:
                await attempt(undo, trip)
            except ActivityError:
                workflow.logger.info("compensation failed")


@workflow.defn
class RollbackCancelled:
    """A cancellation that comes while the compensations run ends them."""

    @workflow.run
    async def run(self, trip: Trip) -> str:
        undos: Undos = []
        try:
            for name in SERVICES:
                undos.append(CANCEL[name])
                await attempt(BOOK[name], trip)
        except FAILURES:
            await undo_all(reversed(undos), trip)
            raise
        return "booked"


@workflow.defn
class DeadlineMissed:
    """`except ActivityError` alone: a deadline raises `TimeoutError`."""

    @workflow.run
    async def run(self, trip: Trip) -> str:
        undos: Undos = []
        try:
            for name in SERVICES:
                undos.append(CANCEL[name])
                async with asyncio.timeout(30):
                    await attempt(BOOK[name], trip)
        except ActivityError:
            await to_the_end(undo_all(reversed(undos), trip))
            raise
        return "booked"


@workflow.defn
class SaysBooked:
    """The failure is caught and undone, and the result says that the trip is booked."""

    @workflow.run
    async def run(self, trip: Trip) -> str:
        undos: Undos = []
        try:
            for name in SERVICES:
                undos.append(CANCEL[name])
                await attempt(BOOK[name], trip)
        except FAILURES:
            await to_the_end(undo_all(reversed(undos), trip))
        return "booked"


@workflow.defn
class WaitsForEver:
    """A rollback waits for a signal that nobody sends."""

    @workflow.run
    async def run(self, trip: Trip) -> str:
        undos: Undos = []
        try:
            for name in SERVICES:
                undos.append(CANCEL[name])
                await attempt(BOOK[name], trip)
        except FAILURES:
            await to_the_end(undo_all(reversed(undos), trip))
            await _never()
        return "booked"


async def attempt(operation: Operation[Any, Any], trip: Trip) -> None:
    """Call an activity with a few retries."""
    few = RetryPolicy(maximum_attempts=3)
    await workflow.execute_activity(operation.name, trip, start_to_close_timeout=SOON, retry_policy=few)


async def undo_all(undos: Iterable[Operation[Any, Any]], trip: Trip) -> None:
    """Call activities one after the other, each until it is done."""
    for undo in undos:
        await workflow.execute_activity(undo.name, trip, start_to_close_timeout=SOON)


async def to_the_end(work: Any) -> None:
    """Wait for `work`, also when the workflow is cancelled meanwhile."""
    task = asyncio.ensure_future(work)
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            continue


async def _never() -> NoReturn:
    while True:
        await workflow.wait_condition(lambda: False)
