"""Failover of colocated sagas: a worker makes no local calls for a saga that another worker began."""

from dataclasses import replace
from typing import Any

from temporalio import workflow
from temporalio.api.common.v1 import Payload
from temporalio.exceptions import ApplicationError
from temporalio.worker import (
    ActivityInboundInterceptor,
    ExecuteActivityInput,
    ExecuteWorkflowInput,
    Interceptor,
    StartLocalActivityInput,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
    WorkflowOutboundInterceptor,
)

from temporal_saga import outcome
from temporal_saga.earlier import BEFORE_THE_FIRST_TASK

_TAKEN_OVER = "saga-taken-over"


class FailoverInterceptor(Interceptor):
    """Interceptor that every worker of sagas with `Policies.colocated` needs.

    A local call that kills its process is not in the history. The next worker of the saga would make it again, as a
    first attempt, and die too, and so on. So only the worker that has run the saga since its first task makes local
    calls. Any other worker declines them, and the kernel makes them over the task queue, where attempts are counted.
    The refusal is recorded as the result of the call, so a replay need not know which worker declined.
    """

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002 — the SDK's name
        return _Declining(next)

    def workflow_interceptor_class(self, _: WorkflowInterceptorClassInput) -> type[WorkflowInboundInterceptor]:
        return _Inbound


class _Inbound(WorkflowInboundInterceptor):
    def init(self, outbound: WorkflowOutboundInterceptor) -> None:
        self._outbound = _Outbound(outbound)
        super().init(self._outbound)

    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:  # noqa: A002 — the SDK's name
        begun_here = workflow.info().get_current_history_length() <= BEFORE_THE_FIRST_TASK
        self._outbound.after_failover = workflow.unsafe.is_replaying() or not begun_here
        return await super().execute_workflow(input)


class _Outbound(WorkflowOutboundInterceptor):
    after_failover = True

    def start_local_activity(self, input: StartLocalActivityInput) -> workflow.ActivityHandle[Any]:  # noqa: A002 — the SDK's name
        if self.after_failover:
            input = replace(input, headers={**input.headers, _TAKEN_OVER: Payload()})  # noqa: A001
        return super().start_local_activity(input)


class _Declining(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002 — the SDK's name
        if _TAKEN_OVER in input.headers:
            no_attempt = 0
            raise ApplicationError("this worker took the saga over", no_attempt, type=outcome.SERVICE_UNAVAILABLE)
        return await super().execute_activity(input)
