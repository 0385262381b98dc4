"""The workflows under test that wait for an approval, go back to a savepoint, or show an undo the reply of its step."""

from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

from temporalio import workflow

from temporal_saga import Plan, Saga, Savepoint, StepFailed, TransactionLog

from .plan import BEST_EFFORT, PIVOT, STEPS, Act, Step
from .workflows import Trip, TripBase, served_here

APPROVAL = "approval"
WAIT = timedelta(hours=1)
FIRST, _, FLIGHT, HOTEL, TRANSFER, MUSEUM, CAR = STEPS


class _WaitBase(TripBase):
    """Opens the trip, waits for an approval, rents a car, and confirms."""

    @workflow.init
    def __init__(self, trip: Trip) -> None:
        super().__init__(trip)
        self._approved_by = ""

    @workflow.update
    def approve(self, person: str) -> None:
        self._approved_by = person

    async def _body(self, saga: Saga | Plan) -> None:
        await self._step(FIRST, saga)
        await self._approval(saga)
        await self._step(CAR, saga)

    def _approval(self, saga: Saga | Plan) -> Coroutine[Any, Any, str]:
        return saga.wait_for(lambda: self._approved_by, name=APPROVAL, timeout=WAIT)

    async def _run(self) -> TransactionLog:
        async with self.saga as saga:
            await self._body(saga)
            await saga.pivot(served_here(PIVOT), self._booking)
        return saga.log


@workflow.defn
class ApprovalWorkflow(_WaitBase):
    """As its base. It keeps who has approved in the name of the pivot."""

    @workflow.run
    async def run(self, _trip: Trip) -> TransactionLog:
        async with self.saga as saga:
            await self._step(FIRST)
            person = await self._approval(saga)
            await self._step(CAR)
            await saga.pivot(served_here(PIVOT), self._booking, name=f"approved by {person}")
        return saga.log


@workflow.defn
class ApprovalOrElseWorkflow(_WaitBase):
    """Books a flight instead of a car where nobody approves."""

    @workflow.run
    async def run(self, _trip: Trip) -> TransactionLog:
        return await self._run()

    async def _body(self, saga: Saga | Plan) -> None:
        await self._step(FIRST)
        await self._car_or_flight(saga)

    async def _car_or_flight(self, saga: Saga | Plan) -> None:
        person = await saga.wait_for(lambda: self._approved_by, name=APPROVAL, timeout=WAIT, otherwise=None)
        await self._step(FLIGHT if person is None else CAR)


@workflow.defn
class ApprovalInGroupWorkflow(ApprovalOrElseWorkflow):
    """Waits beside a call."""

    @workflow.run
    async def run(self, _trip: Trip) -> TransactionLog:
        return await self._run()

    async def _body(self, saga: Saga | Plan) -> None:
        await self._step(FIRST)
        await saga.parallel(self._car_or_flight(saga), self._step(MUSEUM))


@workflow.defn
class SharedApprovalWorkflow(_WaitBase):
    """Waits for one approval in two branches, of which the first takes it."""

    @workflow.run
    async def run(self, _trip: Trip) -> TransactionLog:
        async with self.saga as saga:
            people = await saga.parallel(self._taken(saga), self._taken(saga))
            await saga.pivot(served_here(PIVOT), self._booking, name=" and ".join(people))
        return saga.log

    async def _taken(self, saga: Saga) -> str:
        person = await self._approval(saga)
        self._approved_by = ""
        return person


@workflow.defn
class LateApprovalWorkflow(_WaitBase):
    """Waits after the pivot, which is a bug."""

    @workflow.run
    async def run(self, _trip: Trip) -> TransactionLog:
        async with self.saga as saga:
            await saga.pivot(served_here(PIVOT), self._booking)
            await self._approval(saga)
        return saga.log


@workflow.defn
class ForeseenApprovalWorkflow(_WaitBase):
    """Says what it is going to do, its pivot included: another execution may have passed that."""

    @workflow.run
    async def run(self, trip: Trip) -> TransactionLog:
        self.saga.foresee(self._whole, resumed=trip.resumed)
        async with self.saga as saga:
            await self._whole(saga)
        return saga.log

    async def _whole(self, saga: Saga | Plan) -> None:
        await self._body(saga)
        await saga.pivot(served_here(PIVOT), self._booking)


@workflow.defn
class ApprovalFirstWorkflow(_WaitBase):
    """Waits before its first step."""

    @workflow.run
    async def run(self, _trip: Trip) -> TransactionLog:
        return await self._run()

    async def _body(self, saga: Saga | Plan) -> None:
        await self._approval(saga)
        await self._step(FIRST, saga)
        await self._step(CAR, saga)


@workflow.defn
class NewsFirstWorkflow(_WaitBase):
    """Tells the customer before its first step."""

    @workflow.run
    async def run(self, _trip: Trip) -> TransactionLog:
        return await self._run()

    async def _body(self, saga: Saga | Plan) -> None:
        await saga.best_effort(served_here(BEST_EFFORT), self._booking)
        await self._step(FIRST, saga)
        await self._step(CAR, saga)


@workflow.defn
class SavepointWorkflow(TripBase):
    """Opens the trip, books flight, hotel and transfer, then a car; if one of these fails, a museum instead of them."""

    @workflow.run
    async def run(self, _trip: Trip) -> TransactionLog:
        return await self._run()

    async def _run(self) -> TransactionLog:
        async with self.saga as saga:
            await self._step(FIRST)
            point = saga.savepoint("journey")
            try:
                await saga.parallel(self._one_by_one((HOTEL, TRANSFER), saga), self._step(FLIGHT))
                await self._step(CAR)
            except StepFailed:
                await self._other_way(saga, point)
            await saga.pivot(served_here(PIVOT), self._booking)
        return saga.log

    async def _other_way(self, saga: Saga, point: Savepoint) -> None:
        await saga.undo_to(point)
        await self._step(MUSEUM)


@workflow.defn
class SecondTryWorkflow(SavepointWorkflow):
    """Tries the car again after it was undone, and goes back to the savepoint twice."""

    @workflow.run
    async def run(self, _trip: Trip) -> TransactionLog:
        return await self._run()

    async def _other_way(self, saga: Saga, point: Savepoint) -> None:
        await saga.undo_to(point)
        await self._step(MUSEUM)
        with suppress(StepFailed):
            await self._step(CAR)
        await saga.undo_to(point)


@workflow.defn
class BranchSavepointWorkflow(TripBase):
    """Goes back to a savepoint in one branch of a group."""

    @workflow.run
    async def run(self, _trip: Trip) -> TransactionLog:
        async with self.saga as saga:
            await saga.parallel(self._branch(saga), self._step(MUSEUM))
            await saga.pivot(served_here(PIVOT), self._booking)
        return saga.log

    async def _branch(self, saga: Saga) -> None:
        await self._step(HOTEL)
        point = saga.savepoint("transfer")
        await self._step(TRANSFER)
        await saga.undo_to(point)
        await self._step(CAR)


class _WrongSavepoint(TripBase):
    async def _run(self) -> TransactionLog:
        async with self.saga as saga:
            point = saga.savepoint("start")
            await self._step(FIRST)
            await self._go_back(saga, point)
        return saga.log

    async def _go_back(self, saga: Saga, point: Savepoint) -> None:
        raise NotImplementedError


@workflow.defn
class UndoneSavepointWorkflow(_WrongSavepoint):
    @workflow.run
    async def run(self, _trip: Trip) -> TransactionLog:
        return await self._run()

    async def _go_back(self, saga: Saga, point: Savepoint) -> None:
        later = saga.savepoint("later")
        await saga.undo_to(point)
        await saga.undo_to(later)


@workflow.defn
class OtherBranchSavepointWorkflow(_WrongSavepoint):
    @workflow.run
    async def run(self, _trip: Trip) -> TransactionLog:
        return await self._run()

    async def _go_back(self, saga: Saga, point: Savepoint) -> None:
        await saga.parallel(saga.undo_to(point), self._step(MUSEUM))


@workflow.defn
class LateSavepointWorkflow(_WrongSavepoint):
    @workflow.run
    async def run(self, _trip: Trip) -> TransactionLog:
        return await self._run()

    async def _go_back(self, saga: Saga, point: Savepoint) -> None:
        await saga.pivot(served_here(PIVOT), self._booking)
        await saga.undo_to(point)


@workflow.defn
class ResumedSavepointWorkflow(_WrongSavepoint):
    """Goes back although another execution may have passed the pivot, which its body has."""

    @workflow.run
    async def run(self, trip: Trip) -> TransactionLog:
        self.saga.foresee(self._pivot, resumed=trip.resumed)
        return await self._run()

    async def _pivot(self, saga: Saga | Plan) -> None:
        await saga.pivot(served_here(PIVOT), self._booking)

    async def _go_back(self, saga: Saga, point: Savepoint) -> None:
        await saga.undo_to(point)


@workflow.defn
class SeeingWorkflow(TripBase):
    """Opens the trip and rents a car, with undos that see what the step has replied."""

    @workflow.run
    async def run(self, trip: Trip) -> TransactionLog:
        self.saga.foresee(self._body, resumed=trip.resumed)
        async with self.saga as saga:
            await self._body(saga)
            await saga.pivot(served_here(PIVOT), self._booking)
        return saga.log

    async def _body(self, saga: Saga | Plan) -> None:
        await self._step(FIRST, saga)
        await self._step(CAR, saga)

    def _undo_of(self, step: Step) -> Act | None:
        undo = super()._undo_of(step)
        return None if undo is None else replace(undo, takes_reply=True)
