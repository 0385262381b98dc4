"""What would lose an undo or an end without a word is an error that names the remedy; what is meant well, works."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from temporalio import workflow

from temporal_saga import Fix, Policy, Saga, State, Status, StepFailed, TransactionLog
from temporal_saga.outcome import IDEMPOTENCY_CONFLICT, Done
from temporal_saga.policy import POLICIES as DEFAULT

from .harness import Harness, failed_task
from .plan import PIVOT, STEPS
from .policies import ONE_ATTEMPT
from .services import Effect, conflict, lose_reply, refuse
from .short_trip import POLICIES, ShortTripWorkflow, decide, desk, until_desk
from .workflows import Trip, TripBase, served_here

FIRST, SECOND = STEPS[0], STEPS[1]
_LOSES_A_REPLY = replace(DEFAULT, forward=ONE_ATTEMPT.undo, undo=ONE_ATTEMPT.undo)


class _Base(TripBase):
    """The calls of a workflow that does something unusual between them."""

    async def _first(self, saga: Saga) -> None:
        await self._step(FIRST, saga)

    async def _decide(self, saga: Saga) -> None:
        await saga.pivot(served_here(PIVOT), self._booking)


@workflow.defn
class TriesAgainWorkflow(_Base):
    """Makes a step of unknown outcome once more."""

    @workflow.run
    async def run(self, _trip: Trip) -> TransactionLog:
        async with self.saga as saga:
            try:
                await self._first(saga)
            except StepFailed:
                await self._first(saga)
            await self._decide(saga)
        return saga.log


@workflow.defn
class GoesOnElsewhereWorkflow(_Base):
    @workflow.run
    async def run(self, trip: Trip) -> TransactionLog:
        async with self.saga as saga:
            await self._first(saga)
            workflow.continue_as_new(trip)
        return saga.log


@workflow.defn
class NestedWorkflow(_Base):
    @workflow.run
    async def run(self, _trip: Trip) -> TransactionLog:
        async with self.saga as saga:
            await self._first(saga)
            async with Saga("inner"):
                await self._step(SECOND, saga)
        return saga.log


@workflow.defn
class NotAwaitedWorkflow(_Base):
    @workflow.run
    async def run(self, _trip: Trip) -> TransactionLog:
        async with self.saga as saga:
            self.begun = asyncio.create_task(self._first(saga))
            await asyncio.sleep(0)
        return saga.log


@workflow.defn
class PivotBesideAStepWorkflow(_Base):
    @workflow.run
    async def run(self, _trip: Trip) -> TransactionLog:
        async with self.saga as saga:
            await saga.parallel(self._first(saga), self._decide(saga))
        return saga.log


@workflow.defn
class StepInAHandlerWorkflow(_Base):
    @workflow.run
    async def run(self, _trip: Trip) -> TransactionLog:
        async with self.saga as saga:
            await self._first(saga)
            await workflow.wait_condition(lambda: False)
        return saga.log

    @workflow.signal
    async def also(self) -> None:
        await self._step(SECOND, self.saga)


@workflow.defn
class ChangedRequestWorkflow(_Base):
    """Changes its request after a step was given it."""

    @workflow.run
    async def run(self, trip: Trip) -> TransactionLog:
        request: Any = {"transaction_id": trip.transaction_id}
        undo = FIRST.undo
        assert undo is not None
        async with self.saga as saga:
            await saga.step(served_here(FIRST.operation), request, undo=served_here(undo))
            request["transaction_id"] = "another"
            await self._decide(saga)
        return saga.log


async def test_a_step_of_unknown_outcome_that_is_made_again_and_done_is_not_undone(harness: Harness) -> None:
    harness.services.script(FIRST.name, lose_reply)
    end = await harness.run(TriesAgainWorkflow, policies=_LOSES_A_REPLY)
    assert (end.log.state, [entry.status for entry in end.log.steps]) == (
        State.CONFIRMED,
        [Status.UNKNOWN, Status.DONE, Status.DONE],
    )
    assert harness.services.undone == []


@pytest.mark.parametrize(
    ("saga", "said"),
    [
        (GoesOnElsewhereWorkflow, "continue as new after the block"),
        (NestedWorkflow, "entered within another"),
        (NotAwaitedWorkflow, "await each call within its block"),
        (PivotBesideAStepWorkflow, "in no parallel group"),
    ],
    ids=["another run", "nested", "not awaited", "pivot in a group"],
)
async def test_what_would_lose_an_undo_or_an_end_is_a_bug_that_is_said(harness: Harness, saga: type, said: str) -> None:
    handle = await harness.start(saga)
    assert said in await failed_task(handle)
    await handle.terminate()


async def test_a_step_in_a_handler_is_a_bug_that_is_said(harness: Harness) -> None:
    handle = await harness.start(StepInAHandlerWorkflow)
    await harness.until_step(handle, FIRST.name, Status.DONE)
    await handle.signal("also")
    assert "within its block, not in a handler" in await failed_task(handle)
    await handle.terminate()


async def test_an_undo_gets_the_request_that_its_step_has_got(harness: Harness) -> None:
    harness.services.script(PIVOT.name, refuse)
    end = await harness.run(ChangedRequestWorkflow)
    assert end.log.state is State.ROLLED_BACK
    assert set(harness.services.held()) == set(), "nothing is left of the first request"


async def test_a_pivot_that_was_fixed_after_an_unknown_outcome_is_not_taken_for_refused(harness: Harness) -> None:
    """The fence knows the first request, which has taken effect, and not the second."""
    harness.services.script(PIVOT.name, lose_reply, conflict)
    handle = await harness.start(ShortTripWorkflow, policies=POLICIES)
    await until_desk(handle, bool)
    fixed = {"transaction_id": (await harness.log(handle)).transaction_id}
    await decide(handle, "fix", PIVOT.name, Fix(actor="ann", reason="too much", request=fixed))
    await until_desk(handle, lambda now: now and now[0].error.code == IDEMPOTENCY_CONFLICT)
    assert harness.services.undone == []
    await decide(handle, "retry", PIVOT.name)
    assert (await harness.end(handle)).log.state is State.CONFIRMED
    assert await desk(handle) == []
    assert PIVOT.name in harness.services.of(Effect.HELD)


def test_within_bounds_a_step_that_has_an_attempt_timeout_too() -> None:
    policy = DEFAULT.of_step(timedelta(seconds=5), timedelta(seconds=30))
    assert (policy.attempt_timeout, policy.total) == (timedelta(seconds=5), timedelta(seconds=30))
    assert DEFAULT.of_step(timedelta(minutes=5), timedelta(seconds=30)).attempt_timeout == timedelta(seconds=30)


def test_the_attempts_of_a_long_time_are_not_counted_one_by_one() -> None:
    policy = Policy(
        attempt_timeout=timedelta(seconds=1), attempts=1, total=timedelta(seconds=1), longest_pause=timedelta(seconds=4)
    )
    for seconds in (1, 2, 3, 7, 8, 11, 12, 13, 99, 100):
        begins, pause, attempts = policy.first_pause, policy.first_pause, 1
        while begins < timedelta(seconds=seconds):
            pause = min(pause * 2, policy.longest_pause)
            attempts, begins = attempts + 1, begins + pause
        assert policy.retried_for(timedelta(seconds=seconds)).attempts == attempts, seconds
    assert policy.retried_for(timedelta(days=100_000)).attempts > 10**9


def test_a_field_of_a_services_own_is_not_taken_for_what_the_fence_says() -> None:
    class Own:
        attempt = "second try"
        repeated = "yes"

    assert Done(Own()).attempts == 1
    assert not Done(Own()).is_repeated
