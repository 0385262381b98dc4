"""Where events for the outside are on, workflows are started so that they announce what becomes of their sagas.

That is in the memo of the workflow, and so in its history: a worker with another setting replays it as it was.
"""

from collections.abc import Mapping
from typing import Any

from temporalio.client import (
    Interceptor,
    OutboundInterceptor,
    StartWorkflowInput,
    StartWorkflowUpdateWithStartInput,
    WorkflowHandle,
    WorkflowUpdateHandle,
)

from contracts.order import ANNOUNCES
from runtime.settings import Settings


def announcing(settings: Settings) -> list[Interceptor]:
    """The interceptors of a client; none if the settings name no server for events."""
    return [] if settings.events_url is None else [AnnouncingInterceptor()]


class AnnouncingInterceptor(Interceptor):
    """Adds `ANNOUNCES` to the memo of every workflow that the client starts."""

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:  # noqa: A002 — the SDK's name
        return _Outbound(next)


class _Outbound(OutboundInterceptor):
    async def start_workflow(self, input: StartWorkflowInput) -> WorkflowHandle[Any, Any]:  # noqa: A002 — as above
        input.memo = _announced(input.memo)
        return await super().start_workflow(input)

    async def start_update_with_start_workflow(
        self,
        input: StartWorkflowUpdateWithStartInput,  # noqa: A002 — as above
    ) -> WorkflowUpdateHandle[Any]:
        input.start_workflow_input.memo = _announced(input.start_workflow_input.memo)
        return await super().start_update_with_start_workflow(input)


def _announced(memo: Mapping[str, Any] | None) -> dict[str, Any]:
    return {**(memo or {}), ANNOUNCES: True}
