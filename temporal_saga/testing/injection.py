"""How each fault is put into a call: what its attempts do, and what happens to the workflow meanwhile."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

from temporalio.client import WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory
from temporalio.service import RPCError

from temporal_saga.testing.attempts import Delivery
from temporal_saga.testing.faults import Case, Fault
from temporal_saga.testing.running import Run

REFUSED = "REFUSED_BY_THE_TEST"
"""The code of an injected refusal."""
_FAILURES = 3
"""Failures of a call that is retried without a limit: then the service is back."""


@dataclass(frozen=True)
class Deadline:
    """When the deadline of a saga passes that is running during a call, and whether an attempt can last so long."""

    due_after: float
    is_within_an_attempt: bool


class Injection:
    """One case's fault. `deliver` is what happens to each attempt, `drive` what happens to the workflow meanwhile."""

    def __init__(self, run: Run, forward: Collection[str], deadline: Deadline | None) -> None:
        self._run = run
        self._forward = forward
        self._deadline = deadline
        self._faults = {case.target.call: case.fault for case in _with_trigger(run.case) if case.target is not None}
        self._holds_undo = False
        self._undo_reached, self._undo_release = asyncio.Event(), asyncio.Event()

    @property
    def calls(self) -> set[str]:
        """The activity ids of the calls that a fault is put into."""
        return set(self._faults)

    @property
    def replaces_the_worker(self) -> bool:
        """Whether the worker of the workflow stops meanwhile."""
        fault, deadline = self._run.case.fault, self._deadline
        passes_without_one = deadline is not None and not deadline.is_within_an_attempt
        return fault is Fault.WORKER_REPLACED or (fault is Fault.DEADLINE and passes_without_one)

    # --- the attempts -----------------------------------------------------------------------------------------------

    async def deliver(self, delivery: Delivery) -> Any:
        fault = self._faults.get(delivery.attempt.call)
        if fault is not None:
            self._run.injected.add(delivery.attempt.call)
            return await _ATTEMPTS[fault](self, delivery)
        if self._holds_undo and delivery.attempt.activity not in self._forward:
            self._holds_undo = False
            self._undo_reached.set()
            await self._undo_release.wait()
            history = await self._run.history()
            if history.has_ended or delivery.attempt.call in history.given_up:
                raise _failure()  # nothing waits for it any more: it need not reach the service
        return await delivery()

    async def _refused(self, _delivery: Delivery) -> Any:
        raise _refusal()

    async def _error(self, delivery: Delivery) -> Any:
        return await self._fails_or_works(delivery)

    async def _reply_lost(self, delivery: Delivery) -> Any:
        if delivery.attempt.number == 1:
            await delivery()
        return await self._fails_or_works(delivery)

    async def _reply_lost_once(self, delivery: Delivery) -> Any:
        reply = await delivery()
        if delivery.attempt.number == 1:
            raise _failure()
        return reply

    async def _late(self, delivery: Delivery) -> Any:
        if delivery.attempt.number == 1:
            self._run.late.append(delivery)
        return await self._fails_or_works(delivery)

    async def _twice(self, delivery: Delivery) -> Any:
        await delivery()
        return await delivery()

    async def _held_before(self, delivery: Delivery) -> Any:
        if delivery.attempt.number > 1:
            return await delivery()
        await self._run.hold()
        raise _failure()

    async def _held_after(self, delivery: Delivery) -> Any:
        reply = await delivery()
        if delivery.attempt.number == 1:
            await self._run.hold()
        return reply

    async def _refused_and_undo_held(self, _delivery: Delivery) -> Any:
        self._holds_undo = True
        raise _refusal()

    async def _fails_or_works(self, delivery: Delivery) -> Any:
        """Fail until the retries run out, or a few times where they never do."""
        limited = delivery.retries is not None and delivery.retries.maximum_attempts > 0
        timed = delivery.total is not None and delivery.total < self._run.saga.longest
        if limited or timed or delivery.attempt.number <= _FAILURES:
            raise _failure()
        return await delivery()

    # --- the workflow -----------------------------------------------------------------------------------------------

    async def drive(self) -> None:
        await _DRIVES.get(self._run.case.fault, Injection._nothing)(self)

    async def _nothing(self) -> None:
        pass

    async def _cancel(self) -> None:
        await self._run.held()
        await self._run.cancel()
        self._run.release.set()

    async def _cancel_twice(self) -> None:
        await self._run.held()
        self._holds_undo = True
        await self._cancel_by_business()
        self._run.release.set()
        await self._cancel_in_rollback()

    async def _cancel_by_business(self) -> None:
        if (cancel := self._run.saga.business_cancel) is not None:
            with suppress(WorkflowUpdateFailedError, RPCError):  # past the pivot
                await cancel(self._run.handle)
                return
        await self._run.cancel()

    async def _cancel_in_rollback(self) -> None:
        await self._undo_reached.wait()
        await self._run.cancel()
        self._undo_release.set()

    async def _pass_deadline(self) -> None:
        """Let the deadline pass while the call runs, or, where no attempt lasts so long, while no worker runs the
        workflow."""
        assert self._deadline is not None  # noqa: S101 — the case exists only with a deadline
        run = self._run
        began: datetime = (await run.handle.describe()).start_time
        await run.held()
        if not self._deadline.is_within_an_attempt:
            await run.stop_workflow_worker()
            run.release.set()
        await run.sleep_until(began, self._deadline.due_after)
        if self._deadline.is_within_an_attempt:
            run.release.set()
        else:
            await run.start_workflow_worker()

    async def _replace_worker(self) -> None:
        await self._run.held()
        await self._run.stop_workflow_worker()
        await self._run.start_workflow_worker()
        self._run.release.set()


def _with_trigger(case: Case) -> list[Case]:
    return [case] if case.trigger is None else [case, case.trigger]


def _refusal() -> ApplicationError:
    return ApplicationError("refused", type=REFUSED, non_retryable=True, category=ApplicationErrorCategory.BENIGN)


def _failure() -> ApplicationError:
    return ApplicationError("the service does not answer", type="FAULT", category=ApplicationErrorCategory.BENIGN)


_Attempts: TypeAlias = Callable[[Injection, Delivery], Awaitable[Any]]
_ATTEMPTS: dict[Fault, _Attempts] = {
    Fault.REFUSED: Injection._refused,
    Fault.ERROR: Injection._error,
    Fault.REPLY_LOST: Injection._reply_lost,
    Fault.LATE: Injection._late,
    Fault.TWICE: Injection._twice,
    Fault.CANCELLED_BEFORE: Injection._held_before,
    Fault.CANCELLED_AFTER: Injection._held_after,
    Fault.CANCELLED_TWICE: Injection._held_after,
    Fault.CANCELLED_ROLLBACK: Injection._refused_and_undo_held,
    Fault.DEADLINE: Injection._held_after,
    Fault.WORKER_REPLACED: Injection._held_after,
    Fault.UNDO_FAILS: Injection._error,
    Fault.UNDO_TWICE: Injection._twice,
    Fault.UNDO_REPLY_LOST: Injection._reply_lost_once,
}
_DRIVES: dict[Fault, Callable[[Injection], Awaitable[None]]] = {
    Fault.CANCELLED_BEFORE: Injection._cancel,
    Fault.CANCELLED_AFTER: Injection._cancel,
    Fault.CANCELLED_TWICE: Injection._cancel_twice,
    Fault.CANCELLED_ROLLBACK: Injection._cancel_in_rollback,
    Fault.DEADLINE: Injection._pass_deadline,
    Fault.WORKER_REPLACED: Injection._replace_worker,
}
