"""The attempts of a case's calls: what each of them changed, and an interceptor that hands them to the fault."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from temporalio import activity, workflow
from temporalio.exceptions import ApplicationError
from temporalio.worker import (
    ActivityInboundInterceptor,
    ExecuteActivityInput,
    Interceptor,
    StartActivityInput,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
    WorkflowOutboundInterceptor,
)

from temporal_saga.testing.changes import Changes, less


@dataclass
class Attempt:
    """One attempt of one call. `effects` has the changes of each time that the activity ran in it."""

    activity: str
    call: str
    number: int
    effects: list[Changes] = field(default_factory=list)
    late_effect: Changes | None = None
    """What it changed when it arrived after the end of the saga. `None` if it did not."""

    @property
    def took_effect(self) -> bool:
        return any(self.effects)


class Delivery:
    """An attempt on its way to the service. Called, it runs the activity and notes what that changes."""

    def __init__(self, attempt: Attempt, run: Callable[[], Awaitable[Any]], records: Records) -> None:
        self.attempt = attempt
        self.retries = activity.info().retry_policy
        self.total = activity.info().schedule_to_close_timeout
        self._run = run
        self._records = records
        self._context = contextvars.copy_context()  # of the activity: it may ask for its `activity.info`

    async def __call__(self) -> Any:
        return await self._records.observed(self._run, self.attempt.effects.append)

    async def late(self) -> None:
        """Arrive after the end of the saga. What the service answers reaches nobody."""

        def note(effect: Changes) -> None:
            self.attempt.late_effect = effect

        arrival = asyncio.create_task(self._records.observed(self._run, note), context=self._context)
        await asyncio.gather(arrival, return_exceptions=True)


class Records:
    """All attempts of one case, in the order in which they began. The services are looked at before and after each."""

    def __init__(self, case_id: str, snapshot: Callable[[str], Awaitable[Changes]]) -> None:
        self.attempts: list[Attempt] = []
        self._case_id = case_id
        self._snapshot = snapshot
        self._one_at_a_time = asyncio.Lock()

    async def observed(self, run: Callable[[], Awaitable[Any]], note: Callable[[Changes], None]) -> Any:
        """Run an activity, alone, and `note` what it changed."""
        async with self._one_at_a_time:
            before = await self._snapshot(self._case_id)
            try:
                return await run()
            finally:
                note(less(await self._snapshot(self._case_id), before))


Deliver = Callable[[Delivery], Awaitable[Any]]


class CaseInterceptor(Interceptor):
    """Hands each attempt of one workflow to `deliver`, and has each call served on the queue of the workflow."""

    def __init__(self, workflow_id: str, records: Records, deliver: Deliver) -> None:
        self.workflow_id = workflow_id
        self.records = records
        self.deliver = deliver

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002 — the SDK's name
        return _Activities(next, self)

    def workflow_interceptor_class(
        self,
        input: WorkflowInterceptorClassInput,  # noqa: A002, ARG002 — the SDK's name
    ) -> type[WorkflowInboundInterceptor]:
        return _OneQueue


class _Activities(ActivityInboundInterceptor):
    def __init__(self, inner: ActivityInboundInterceptor, case: CaseInterceptor) -> None:
        super().__init__(inner)
        self._case = case

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002 — the SDK's name
        info = activity.info()
        if info.workflow_id is None or not info.workflow_id.startswith(self._case.workflow_id):
            raise ApplicationError("this call is of a workflow that has ended", non_retryable=True)
        attempt = Attempt(info.activity_type, info.activity_id, info.attempt)
        self._case.records.attempts.append(attempt)
        inner = super().execute_activity
        return await self._case.deliver(Delivery(attempt, lambda: inner(input), self._case.records))


class _OneQueue(WorkflowInboundInterceptor):
    def init(self, outbound: WorkflowOutboundInterceptor) -> None:
        super().init(_OneQueueOut(outbound))


class _OneQueueOut(WorkflowOutboundInterceptor):
    def start_activity(self, input: StartActivityInput) -> workflow.ActivityHandle[Any]:  # noqa: A002 — the SDK's name
        input.task_queue = workflow.info().task_queue
        return super().start_activity(input)
