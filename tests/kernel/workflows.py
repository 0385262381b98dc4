"""The workflows under test."""

import asyncio
from collections.abc import Iterable
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import StrEnum

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError

from temporal_saga import CancellableSagaWorkflow, Plan, Policies, Saga, StepFailed, TransactionLog, outcome

from . import tree
from .plan import BEST_EFFORT, FINISHES, PIVOT, PLAN, ROLLBACK_CALL, STEPS, Act, Booking, Group, Receipt, Step, branches
from .services import SOLD_OUT
from .tree import Node, Tree

SECOND_THOUGHTS = "SECOND_THOUGHTS"


class BodyAction(StrEnum):
    """What the workflow's own code does just before a part of the plan, or before the pivot or a finish."""

    SLEEP = "sleeps for an hour"
    RAISE = "raises an ApplicationError"
    BUG = "has a bug"


@dataclass(frozen=True)
class Trip:
    transaction_id: str
    deadline: timedelta | None = None
    policies: Policies = field(default_factory=Policies)
    attempt_timeouts: dict[str, timedelta] = field(default_factory=dict)
    """An `attempt_timeout` for some of the steps."""
    actions: dict[str, BodyAction] = field(default_factory=dict)
    """Actions by the name of the call that they come before: the first of a part, the pivot, or the first finish."""
    resumed: bool = False
    """Whether `ForeseeingWorkflow` must assume an earlier execution."""
    tree: Tree = field(default_factory=lambda: Tree(()))
    """What `TreeWorkflow` runs instead of the plan."""
    within: timedelta | None = None
    """The time of each step."""


def served_here(operation: Act) -> Act:
    return replace(operation, queue=workflow.info().task_queue, undoes=None)


class TripBase(CancellableSagaWorkflow):
    """Base of every workflow here: a saga, the calls of a trip, and a body for the saga where it needs one."""

    @workflow.init
    def __init__(self, trip: Trip) -> None:
        self._trip = trip
        self._booking = Booking(trip.transaction_id)
        body = self._body if trip.policies.are_colocated else None
        self.saga = Saga(trip.transaction_id, deadline=trip.deadline, policies=trip.policies, body=body)

    async def _body(self, saga: Saga | Plan) -> None:
        """The whole plan up to the pivot."""
        saga.on_rollback(served_here(ROLLBACK_CALL), self._booking)
        for part in PLAN:
            await self._act_before(branches(part)[0][0].name, saga)
            if isinstance(part, Group):
                await saga.parallel(*(self._one_by_one(branch, saga) for branch in part.branches))
            else:
                await self._step(part, saga)

    async def _one_by_one(self, steps: Iterable[Step], saga: Saga | Plan) -> None:
        for step in steps:
            await self._step(step, saga)

    async def _step(self, step: Step, saga: Saga | Plan | None = None) -> None:
        await (saga or self.saga).step(
            served_here(step.operation),
            self._booking,
            undo=self._undo_of(step),
            within=self._trip.within,
            attempt_timeout=self._trip.attempt_timeouts.get(step.name),
        )

    def _undo_of(self, step: Step) -> Act | None:
        return None if step.undo is None else served_here(step.undo)

    async def _finish(self, operation: Act) -> None:
        await self.saga.finish(served_here(operation), self._booking)

    async def _act_before(self, place: str, saga: Saga | Plan) -> None:
        action = self._trip.actions.get(place) if isinstance(saga, Saga) else None
        if action is BodyAction.SLEEP:
            await workflow.sleep(timedelta(hours=1))
        if action is BodyAction.RAISE:
            raise ApplicationError("rather stay at home", type=SECOND_THOUGHTS)
        if action is BodyAction.BUG:
            raise KeyError("a bug")


@workflow.defn
class TripWorkflow(TripBase):
    """The whole plan."""

    @workflow.run
    async def run(self, _trip: Trip) -> TransactionLog:
        async with self.saga as saga:
            await self._body(saga)
            await self._act_before(PIVOT.name, saga)
            await saga.pivot(served_here(PIVOT), self._booking)
            await self._act_before(FINISHES[0].name, saga)
            await saga.parallel(*map(self._finish, FINISHES))
            await saga.best_effort(served_here(BEST_EFFORT), self._booking)
        return saga.log


@workflow.defn
class TreeWorkflow(TripBase):
    """A saga of any shape."""

    @workflow.run
    async def run(self, trip: Trip) -> TransactionLog:
        async with self.saga as saga:
            await self._all(trip.tree.body)
            if trip.tree.pivot:
                await saga.pivot(served_here(tree.PIVOT), self._booking)
                await saga.parallel(*(self._finish(tree.finish(name)) for name in trip.tree.finishes))
        return saga.log

    async def _all(self, nodes: Iterable[Node]) -> None:
        for node in nodes:
            if node.branches:
                await self.saga.parallel(*map(self._all, node.branches))
            else:
                await self._step(Step(node.forward, node.undo))


@workflow.defn
class ForeseeingWorkflow(TripBase):
    """Says what it is going to do, and does it: the whole plan up to the pivot, and a detour if the last step fails."""

    @workflow.run
    async def run(self, trip: Trip) -> TransactionLog:
        self.saga.foresee(self._body, resumed=trip.resumed)
        async with self.saga as saga:
            await self._body(saga)
        return saga.log

    async def _body(self, saga: Saga | Plan) -> None:
        for step in STEPS:
            with suppress(StepFailed) if step is STEPS[-1] else nullcontext():
                await self._step(step, saga)
        saga.on_rollback(served_here(ROLLBACK_CALL), self._booking)
        await saga.pivot(served_here(PIVOT), self._booking)


@workflow.defn
class RecoveringWorkflow(TripBase):
    """Continues an execution that was terminated, and finishes what that one has confirmed."""

    @workflow.run
    async def run(self, _trip: Trip) -> TransactionLog:
        async with self.saga as saga:
            if await saga.try_cancel_decision(served_here(PIVOT), self._booking, committed=SOLD_OUT):
                raise ApplicationError("it was not confirmed", type=SECOND_THOUGHTS)
            await self._finish(FINISHES[0])
        return saga.log


@workflow.defn
class SecondPivotWorkflow(TripBase):
    """Catches a refusal of its pivot, and calls it again an hour later."""

    @workflow.run
    async def run(self, _trip: Trip) -> TransactionLog:
        async with self.saga as saga:
            await self._step(STEPS[0])
            with suppress(StepFailed):
                await saga.pivot(served_here(PIVOT), self._booking)
                return saga.log
            await workflow.sleep(timedelta(hours=1))
            await saga.pivot(served_here(PIVOT), self._booking)
        return saga.log


@workflow.defn
class DetourWorkflow(TripBase):
    """Tries its first step, takes the last one instead if that fails, and goes on."""

    @workflow.run
    async def run(self, _trip: Trip) -> TransactionLog:
        async with self.saga as saga:
            try:
                await self._step(STEPS[0])
            except StepFailed:
                await self._step(STEPS[-1])
            await saga.pivot(served_here(PIVOT), self._booking)
        return saga.log


@workflow.defn
class RetryWorkflow(TripBase):
    """Calls its first step twice, with another in between."""

    @workflow.run
    async def run(self, _trip: Trip) -> TransactionLog:
        async with self.saga as saga:
            try:
                await self._step(STEPS[0])
            except StepFailed:
                await self._step(STEPS[-1])
                await self._step(STEPS[0])
            await saga.pivot(served_here(PIVOT), self._booking)
        return saga.log


@workflow.defn
class DirectWorkflow(TripBase):
    """A saga without a pivot, with a best-effort call in it and a pause after it."""

    @workflow.run
    async def run(self, _trip: Trip) -> TransactionLog:
        async with self.saga as saga:
            await saga.best_effort(served_here(BEST_EFFORT), self._booking)
            await self._step(STEPS[0])
        await workflow.sleep(timedelta(hours=1))
        return saga.log


@workflow.defn
class OwnCancelWorkflow(TripBase):
    """Cancels a task of its own and waits for it, although the saga was not cancelled."""

    @workflow.run
    async def run(self, _trip: Trip) -> TransactionLog:
        async with self.saga as saga:
            await self._step(STEPS[0])
            rest = asyncio.create_task(workflow.sleep(timedelta(hours=1)))
            rest.cancel()
            await rest
        return saga.log


@workflow.defn
class LocalCallWorkflow(TripBase):
    """Calls the pivot as a regular and as a local activity, and returns the outcome of each failure."""

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
                assert not isinstance(ended, outcome.Working)
                found.append(f"{type(error).__name__}: {type(ended).__name__} {ended.code} {ended.attempts}")
        return found
