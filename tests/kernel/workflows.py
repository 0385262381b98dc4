"""The workflows under test."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import StrEnum

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError

from saga import CancelRefused, Plan, Policies, Saga, StepFailed, TransactionLog, outcome

from . import tree
from .plan import COURTESY, FAREWELL, FINISHES, PIVOT, PLAN, STEPS, Act, Booking, Group, Receipt, Step, branches
from .tree import Node, Tree
from .world import SOLD_OUT

TOO_LATE = "TOO_LATE_TO_CANCEL"
SECOND_THOUGHTS = "SECOND_THOUGHTS"


class Whim(StrEnum):
    """What the traveller's code does just before a part of the plan, or before the pivot or a finish."""

    NAP = "sleeps for an hour"
    RAISE = "raises an ApplicationError"
    BUG = "has a bug"


@dataclass(frozen=True)
class Trip:
    transaction_id: str
    deadline: timedelta | None = None
    policies: Policies = field(default_factory=Policies)
    patience: dict[str, timedelta] = field(default_factory=dict)
    """An `attempt_timeout` for some of the steps."""
    whims: dict[str, Whim] = field(default_factory=dict)
    """By the name of the first step of a part, or of the pivot."""
    resumed: bool = False
    """For `ForeseeingWorkflow`."""
    tree: Tree = field(default_factory=lambda: Tree(()))
    """What `TreeWorkflow` runs instead of the plan."""


def served_here(operation: Act) -> Act:
    return replace(operation, queue=workflow.info().task_queue, undoes=None)


class _Traveller:
    """What every workflow here has: a saga, its log, and the business's cancel."""

    def __init__(self, trip: Trip) -> None:
        self._trip = trip
        self._booking = Booking(trip.transaction_id)
        self._saga = Saga(trip.transaction_id, deadline=trip.deadline, policies=trip.policies)

    async def _one_by_one(self, steps: Iterable[Step]) -> None:
        for step in steps:
            await self._step(step)

    async def _step(self, step: Step) -> None:
        await self._saga.step(
            served_here(step.operation),
            self._booking,
            undo=served_here(step.undo) if step.undo is not None else None,
            attempt_timeout=self._trip.patience.get(step.name),
        )

    async def _finish(self, operation: Act) -> None:
        await self._saga.finish(served_here(operation), self._booking)

    @workflow.query
    def transaction_log(self) -> TransactionLog:
        return self._saga.log

    @workflow.update
    def cancel(self, reason: str) -> None:
        self._saga.cancel(reason)

    @cancel.validator
    def check_cancel(self, reason: str) -> None:  # noqa: ARG002 - a validator takes what its update takes
        try:
            self._saga.check_cancellable()
        except CancelRefused as refused:
            raise ApplicationError(str(refused), type=TOO_LATE) from refused


@workflow.defn
class TripWorkflow(_Traveller):
    """The whole plan."""

    @workflow.init
    def __init__(self, trip: Trip) -> None:
        super().__init__(trip)

    @workflow.run
    async def run(self, _trip: Trip) -> TransactionLog:
        async with self._saga as saga:
            saga.on_rollback(served_here(FAREWELL), self._booking)
            for part in PLAN:
                await self._follow_whim(branches(part)[0][0].name)
                if isinstance(part, Group):
                    await saga.parallel(*(self._one_by_one(branch) for branch in part.branches))
                else:
                    await self._step(part)
            await self._follow_whim(PIVOT.name)
            await saga.pivot(served_here(PIVOT), self._booking)
            await self._follow_whim(FINISHES[0].name)
            await saga.parallel(*map(self._finish, FINISHES))
            await saga.best_effort(served_here(COURTESY), self._booking)
        return saga.log

    async def _follow_whim(self, place: str) -> None:
        whim = self._trip.whims.get(place)
        if whim is Whim.NAP:
            await workflow.sleep(timedelta(hours=1))
        if whim is Whim.RAISE:
            raise ApplicationError("rather stay at home", type=SECOND_THOUGHTS)
        if whim is Whim.BUG:
            raise KeyError("a bug")


@workflow.defn
class TreeWorkflow(_Traveller):
    """A saga of any shape."""

    @workflow.init
    def __init__(self, trip: Trip) -> None:
        super().__init__(trip)

    @workflow.run
    async def run(self, trip: Trip) -> TransactionLog:
        async with self._saga as saga:
            await self._all(trip.tree.body)
            if trip.tree.pivot:
                await saga.pivot(served_here(tree.PIVOT), self._booking)
                await saga.parallel(*(self._finish(tree.finish(name)) for name in trip.tree.finishes))
        return saga.log

    async def _all(self, nodes: Iterable[Node]) -> None:
        for node in nodes:
            if node.branches:
                await self._saga.parallel(*map(self._all, node.branches))
            else:
                await self._step(Step(node.forward, node.undo))


@workflow.defn
class ForeseeingWorkflow(_Traveller):
    """Says what it is going to do, and does it: the whole plan up to the pivot, and a detour if the last step fails."""

    @workflow.init
    def __init__(self, trip: Trip) -> None:
        super().__init__(trip)
        self._saga.foresee(self._body)

    @workflow.run
    async def run(self, trip: Trip) -> TransactionLog:
        async with self._saga as saga:
            if trip.resumed:
                saga.resume()
            await self._body(saga)
        return saga.log

    async def _body(self, saga: Saga | Plan) -> None:
        for step in STEPS:
            with suppress(StepFailed) if step is STEPS[-1] else nullcontext():
                await self._call(saga, step)
        saga.on_rollback(served_here(FAREWELL), self._booking)
        await saga.pivot(served_here(PIVOT), self._booking)

    async def _call(self, saga: Saga | Plan, step: Step) -> None:
        undo = served_here(step.undo) if step.undo is not None else None
        await saga.step(served_here(step.operation), self._booking, undo=undo)


@workflow.defn
class TakeoverWorkflow(_Traveller):
    """Takes over from an execution that was cut off, and finishes what that one has confirmed."""

    @workflow.init
    def __init__(self, trip: Trip) -> None:
        super().__init__(trip)

    @workflow.run
    async def run(self, _trip: Trip) -> TransactionLog:
        async with self._saga as saga:
            if await saga.try_cancel_decision(served_here(PIVOT), self._booking, committed=SOLD_OUT):
                raise ApplicationError("it was not confirmed", type=SECOND_THOUGHTS)
            await self._finish(FINISHES[0])
        return saga.log


@workflow.defn
class SecondAskingWorkflow(_Traveller):
    """Catches a refusal of its pivot, and asks again an hour later."""

    @workflow.init
    def __init__(self, trip: Trip) -> None:
        super().__init__(trip)

    @workflow.run
    async def run(self, _trip: Trip) -> TransactionLog:
        async with self._saga as saga:
            await self._step(STEPS[0])
            with suppress(StepFailed):
                await saga.pivot(served_here(PIVOT), self._booking)
                return saga.log
            await workflow.sleep(timedelta(hours=1))
            await saga.pivot(served_here(PIVOT), self._booking)
        return saga.log


@workflow.defn
class DetourWorkflow(_Traveller):
    """Tries its first step, takes the last one instead if that fails, and goes on."""

    @workflow.init
    def __init__(self, trip: Trip) -> None:
        super().__init__(trip)

    @workflow.run
    async def run(self, _trip: Trip) -> TransactionLog:
        async with self._saga as saga:
            try:
                await self._step(STEPS[0])
            except StepFailed:
                await self._step(STEPS[-1])
            await saga.pivot(served_here(PIVOT), self._booking)
        return saga.log


@workflow.defn
class RetryWorkflow(_Traveller):
    """Asks twice for its first step, with another in between."""

    @workflow.init
    def __init__(self, trip: Trip) -> None:
        super().__init__(trip)

    @workflow.run
    async def run(self, _trip: Trip) -> TransactionLog:
        async with self._saga as saga:
            try:
                await self._step(STEPS[0])
            except StepFailed:
                await self._step(STEPS[-1])
                await self._step(STEPS[0])
            await saga.pivot(served_here(PIVOT), self._booking)
        return saga.log


@workflow.defn
class DirectWorkflow(_Traveller):
    """A saga without a pivot, a call that may fail in it, and a rest after it."""

    @workflow.init
    def __init__(self, trip: Trip) -> None:
        super().__init__(trip)

    @workflow.run
    async def run(self, _trip: Trip) -> TransactionLog:
        async with self._saga as saga:
            await saga.best_effort(served_here(COURTESY), self._booking)
            await self._step(STEPS[0])
        await workflow.sleep(timedelta(hours=1))
        return saga.log


@workflow.defn
class HomemadeCancelWorkflow(_Traveller):
    """Cancels a task of its own and trips over it: nobody asked the saga to stop."""

    @workflow.init
    def __init__(self, trip: Trip) -> None:
        super().__init__(trip)

    @workflow.run
    async def run(self, _trip: Trip) -> TransactionLog:
        async with self._saga as saga:
            await self._step(STEPS[0])
            rest = asyncio.create_task(workflow.sleep(timedelta(hours=1)))
            rest.cancel()
            await rest
        return saga.log


@workflow.defn
class LocalCallWorkflow(_Traveller):
    """How a call of the pivot fails, as a regular and as a local activity: what the kernel makes of each."""

    @workflow.init
    def __init__(self, trip: Trip) -> None:
        super().__init__(trip)

    @workflow.run
    async def run(self, _trip: Trip) -> list[str]:
        found = []
        for start in (workflow.start_activity, workflow.start_local_activity):
            try:
                await start(
                    PIVOT.name,
                    self._booking,
                    result_type=Receipt,
                    start_to_close_timeout=timedelta(seconds=5),
                    retry_policy=RetryPolicy(maximum_attempts=1),
                )
            except (ActivityError, ApplicationError) as error:
                ended = outcome.classify(error, 1)
                found.append(f"{type(error).__name__}: {type(ended).__name__} {ended.code} {ended.attempts}")
        return found
