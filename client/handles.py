"""Workflows as Temporal describes, lists and queries them, whatever their status.

The SDK raises `ValueError` for a status that it does not know, in `describe`, `list_workflows` and `query`: 1.35 does
so for a workflow that is paused, which servers from 1.30 on allow. So these three are asked for here, and nowhere else.
A status that is not known to be closed is open.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import PendingActivityState
from temporalio.api.enums.v1 import WorkflowExecutionStatus as RawStatus
from temporalio.api.workflow.v1 import PendingActivityInfo, WorkflowExecutionExtendedInfo, WorkflowExecutionInfo
from temporalio.api.workflowservice.v1 import (
    DescribeWorkflowExecutionRequest,
    DescribeWorkflowExecutionResponse,
    ListWorkflowExecutionsRequest,
)
from temporalio.client import (
    Client,
    WorkflowExecutionStatus,
    WorkflowHandle,
    WorkflowQueryFailedError,
    WorkflowQueryRejectedError,
)
from temporalio.common import QueryRejectCondition, TypedSearchAttributes
from temporalio.converter import decode_typed_search_attributes
from temporalio.service import RPCError, RPCStatusCode

from runtime.connection import CLOSED_FROM_OUTSIDE
from runtime.settings import SettingsError
from temporal_saga import State
from temporal_saga.visibility import SAGA_STATE

OPEN = "CloseTime IS NULL"
"""Visibility query for every workflow that is not closed. `ExecutionStatus = 'Running'` leaves paused ones out, and a
server that does not know the word 'Paused' refuses a query with it."""
PARKED = f"{SAGA_STATE.name} = '{State.PARKED}' AND {OPEN}"
"""Visibility query for the sagas with a parked call."""
CLOSED_BY_OTHERS = "ExecutionStatus IN ('Terminated', 'TimedOut', 'Canceled')"
"""Visibility query for the statuses in `CLOSED_FROM_OUTSIDE`."""
QUERY_TIMEOUT_S = 5
_NOT_CLOSED = "No completion event found"
"""The SDK's words for a workflow that is paused: the server ends a wait for its end at once, and it has none."""
_WHILE_PAUSED_S = 1
_CLOSED = {
    int(status): status
    for status in (
        WorkflowExecutionStatus.COMPLETED,
        WorkflowExecutionStatus.FAILED,
        WorkflowExecutionStatus.CONTINUED_AS_NEW,
        *CLOSED_FROM_OUTSIDE,
    )
}
_PAGE = 1000
_AT_ONCE = 100
"""Workflows described at a time."""
T = TypeVar("T")


class WorkflowPaused(Exception):
    """A paused workflow answers no query."""

    def __init__(self, described: Described) -> None:
        super().__init__(f"{described.id} is paused")
        self.described = described


CANNOT_SAY = (WorkflowPaused, WorkflowQueryFailedError, RPCError, SettingsError, ValueError)
"""What a query raises that is not answered, or whose answer cannot be read: it is encrypted with another key, or of a
newer build."""


@dataclass(frozen=True)
class Pause:
    """A pause of a workflow or an activity: since when, by whom and why."""

    since: datetime
    by: str
    reason: str


@dataclass(frozen=True)
class PausedActivity:
    activity_id: str
    operation: str
    pause: Pause


@dataclass(frozen=True)
class PendingCall:
    """An activity that has not ended: `attempt` counts from 1, `failure` is why the attempt before failed.

    `is_running` is whether a worker has taken the attempt up. `next_at` is set while the retry waits for its time.
    """

    operation: str
    attempt: int
    is_running: bool
    next_at: datetime | None
    failure: str | None


@dataclass(frozen=True)
class Run:
    """One run of a workflow. `status` is RUNNING while it is open, also while it is paused."""

    id: str
    run_id: str
    workflow_type: str
    status: WorkflowExecutionStatus
    is_paused: bool
    started_at: datetime
    closed_at: datetime | None
    attributes: TypedSearchAttributes

    @property
    def is_open(self) -> bool:
        return self.status is WorkflowExecutionStatus.RUNNING

    @property
    def is_closed_from_outside(self) -> bool:
        return self.status in CLOSED_FROM_OUTSIDE


@dataclass(frozen=True)
class Described(Run):
    """`pause` is that of the workflow itself. `task_attempt` is 0 without a pending workflow task, `parent_id` empty
    without a parent workflow."""

    task_queue: str
    task_attempt: int
    history_length: int
    parent_id: str
    pause: Pause | None
    paused_activities: tuple[PausedActivity, ...]
    pending: tuple[PendingCall, ...]

    @property
    def is_stuck(self) -> bool:
        """Whether it is open, and something is paused, or a call is known to be parked."""
        stopped = self.is_paused or self.paused_activities or self.attributes.get(SAGA_STATE) == State.PARKED
        return self.is_open and bool(stopped)

    @property
    def goes_on(self) -> bool:
        """Whether a call or a workflow task is pending, and it is not stuck."""
        return self.is_open and not self.is_stuck and bool(self.pending or self.task_attempt)


async def describe(client: Client, workflow_id: str, run_id: str | None = None) -> Described | None:
    """A run of a workflow, by default the newest; `None` if there is none, or none can have this id."""
    execution = WorkflowExecution(workflow_id=workflow_id, run_id=run_id or "")
    request = DescribeWorkflowExecutionRequest(namespace=client.namespace, execution=execution)
    try:
        answer = await client.workflow_service.describe_workflow_execution(request, retry=True)
    except RPCError as error:
        if error.status in (RPCStatusCode.NOT_FOUND, RPCStatusCode.INVALID_ARGUMENT):
            return None
        raise
    return described_by(answer)


async def status_of(client: Client, workflow_id: str, run_id: str | None = None) -> WorkflowExecutionStatus | None:
    """RUNNING while it is open; `None` if there is no such workflow, or it is past its retention."""
    found = await describe(client, workflow_id, run_id)
    return None if found is None else found.status


async def listed(client: Client, query: str, *, page_size: int = _PAGE) -> AsyncIterator[Run]:
    """The runs that visibility finds, in its order: open ones first, then the last closed."""
    request = ListWorkflowExecutionsRequest(namespace=client.namespace, query=query, page_size=page_size)
    while True:
        page = await client.workflow_service.list_workflow_executions(request, retry=True)
        for info in page.executions:
            yield Run(**_of(info))
        if not page.next_page_token:
            return
        request.next_page_token = page.next_page_token


async def runs_of(client: Client, workflow_id: str) -> list[Run]:
    """All runs of a workflow, the newest first."""
    runs = [run async for run in listed(client, f"WorkflowId = '{workflow_id}'")]
    return sorted(runs, key=lambda run: run.started_at, reverse=True)


async def newest(client: Client, runs: Sequence[Run]) -> list[Run]:
    """Those of `runs` that no later run of the same id has followed. An open run is always the newest."""

    async def is_newest(run: Run) -> bool:
        if run.is_open:
            return True
        found = await describe(client, run.id)
        return found is None or found.run_id == run.run_id

    kept: list[Run] = []
    for start in range(0, len(runs), _AT_ONCE):
        part = runs[start : start + _AT_ONCE]
        answers = await asyncio.gather(*map(is_newest, part))
        kept += [run for run, answer in zip(part, answers, strict=True) if answer]
    return kept


async def started_with(client: Client, workflow_id: str, run_id: str | None = None) -> list[Any]:
    """The arguments of a run, by default the newest, from the first event of its history; empty if it is gone.

    Raises `SettingsError` for arguments that another key has encrypted.
    """
    handle = client.get_workflow_handle(workflow_id, run_id=run_id)
    try:
        first = await anext(handle.fetch_history_events(page_size=1))
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        return []
    started = first.workflow_execution_started_event_attributes
    return await client.data_converter.decode(started.input.payloads)


async def document_of(client: Client, workflow_id: str) -> Any:
    """The first argument of a workflow, which is its document; `None` if it is gone. Raises as `started_with` does."""
    return next(iter(await started_with(client, workflow_id)), None)


async def result_of(handle: WorkflowHandle[Any, T]) -> T:
    """`handle.result()`, also of a workflow that is paused meanwhile. Raises as that does."""
    while True:
        try:
            return await handle.result()
        except RuntimeError as error:
            if str(error) != _NOT_CLOSED:
                raise
        await asyncio.sleep(_WHILE_PAUSED_S)


async def query(
    client: Client,
    handle: WorkflowHandle[Any, Any],
    name: Any,
    *arguments: Any,
    result_type: type | None = None,
    reject_condition: QueryRejectCondition | None = None,
) -> Any:
    """The workflow's answer within `QUERY_TIMEOUT_S`. Raises one of `CANNOT_SAY`."""
    timeout = timedelta(seconds=QUERY_TIMEOUT_S)
    try:
        return await handle.query(
            name, args=arguments, result_type=result_type, reject_condition=reject_condition, rpc_timeout=timeout
        )
    except (ValueError, WorkflowQueryRejectedError):  # a server rejects it with a status that the SDK may not know
        found = await describe(client, handle.id)
        if found is not None and found.is_paused:
            raise WorkflowPaused(found) from None
        raise


def _of(info: WorkflowExecutionInfo) -> dict[str, Any]:
    number = info.status
    return {
        "id": info.execution.workflow_id,
        "run_id": info.execution.run_id,
        "workflow_type": info.type.name,
        "status": _CLOSED.get(number, WorkflowExecutionStatus.RUNNING),
        "is_paused": number == RawStatus.WORKFLOW_EXECUTION_STATUS_PAUSED,
        "started_at": _time(info.start_time),
        "closed_at": _time(info.close_time) if info.HasField("close_time") else None,
        "attributes": decode_typed_search_attributes(info.search_attributes),
    }


def described_by(answer: DescribeWorkflowExecutionResponse) -> Described:
    common = _of(answer.workflow_execution_info)
    return Described(
        **common,
        task_queue=answer.workflow_execution_info.task_queue,
        task_attempt=answer.pending_workflow_task.attempt,
        history_length=answer.workflow_execution_info.history_length,
        parent_id=answer.workflow_execution_info.parent_execution.workflow_id,
        pause=_pause_of(answer.workflow_extended_info) if common["is_paused"] else None,
        paused_activities=tuple(_paused(each) for each in answer.pending_activities if each.paused),
        pending=tuple(map(_pending, answer.pending_activities)),
    )


def _pause_of(extended: WorkflowExecutionExtendedInfo) -> Pause:
    said = extended.pause_info
    return Pause(_time(said.paused_time), said.identity, said.reason)


def _paused(pending: PendingActivityInfo) -> PausedActivity:
    said = pending.pause_info
    by = said.rule if said.HasField("rule") else said.manual
    return PausedActivity(
        pending.activity_id, pending.activity_type.name, Pause(_time(said.pause_time), by.identity, by.reason)
    )


def _pending(pending: PendingActivityInfo) -> PendingCall:
    is_running = pending.state == PendingActivityState.PENDING_ACTIVITY_STATE_STARTED
    waits = not is_running and pending.HasField("next_attempt_schedule_time")
    return PendingCall(
        pending.activity_type.name,
        pending.attempt,
        is_running,
        _time(pending.next_attempt_schedule_time) if waits else None,
        pending.last_failure.message if pending.HasField("last_failure") else None,
    )


def _time(at: Timestamp) -> datetime:
    return at.ToDatetime(tzinfo=UTC)
