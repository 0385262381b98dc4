"""Why a workflow does not answer, and what of it is paused: for each a sentence that says what to do."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType, TaskQueueType
from temporalio.api.errordetails.v1 import QueryFailedFailure
from temporalio.api.failure.v1 import Failure as FailureMessage
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflowservice.v1 import GetWorkflowExecutionHistoryReverseRequest
from temporalio.client import Client, WorkflowQueryFailedError
from temporalio.service import RPCError, RPCStatusCode

from client.handles import (
    OPEN,
    QUERY_TIMEOUT_S,
    Described,
    Pause,
    PausedActivity,
    Run,
    WorkflowPaused,
    describe,
    listed,
)
from contracts.errors import Code
from runtime.pollers import last_poll
from runtime.settings import SettingsError
from temporal_saga import Failure
from temporal_saga.outcome import first_line

_SILENT = (RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.FAILED_PRECONDITION, RPCStatusCode.CANCELLED)
_ONE_QUERY = "query buffer is full"
"""The server's words to a second client that asks while no worker takes the first one's query up."""
_EVENTS_LOOKED_AT = 20
_KEY = "PAYLOAD_KEY"
"""Every error about a key begins so."""


async def why_silent(client: Client, workflow_id: str, error: Exception) -> Failure:
    """Why a query has no answer. Raises `error` where that is neither the workflow's nor its workers' doing."""
    if isinstance(error, WorkflowPaused):
        return paused(error.described)
    if isinstance(error, SettingsError | ValueError):
        return _silent(f"its answer cannot be read: {first_line(error)}")
    if isinstance(error, RPCError) and error.status not in _SILENT and _ONE_QUERY not in error.message:
        raise error
    found = await describe(client, workflow_id)
    if found is None:
        return _silent("there is no such workflow any more")
    if (why := await _why_its_task_fails(client, found)) is not None:
        return _silent(why)
    if isinstance(error, WorkflowQueryFailedError):
        message = await _message_of_query(client, error)
        return _silent(_unreadable(message) or f"the workflow cannot answer: {message}")
    return _silent(await _about_workers(client, found.task_queue))


def paused(found: Described) -> Failure:
    """What to say of a workflow that is paused."""
    said = f"paused {_since(found.pause)}" if found.pause else "paused"
    message = (
        f"{said}: nothing of it goes on, and it answers nothing; `temporal workflow unpause --workflow-id {found.id}`"
    )
    return Failure(Code.PAUSED, message)


def paused_call(found: Run, activity: PausedActivity) -> Failure:
    """What to say of a call of a workflow that is paused: the saga waits for it, beyond each of its timeouts."""
    remedy = f"`temporal activity unpause --workflow-id {found.id} --activity-id {activity.activity_id}`"
    message = f"{activity.operation} is paused {_since(activity.pause)}: it is not tried, and the saga waits; {remedy}"
    return Failure(Code.PAUSED, message, activity.operation)


async def all_paused(client: Client) -> AsyncIterator[tuple[str, Failure]]:
    """Every paused workflow and every paused call of an open one: the workflow's id, and what to say of it."""
    try:
        runs = [run async for run in listed(client, f"TemporalPauseInfo IS NOT NULL AND {OPEN}")]
    except RPCError as error:
        if error.status is not RPCStatusCode.INVALID_ARGUMENT:  # a server that cannot pause knows no such attribute
            raise
        return
    for run in runs:
        found = await describe(client, run.id)
        if found is not None and found.is_paused:
            yield found.id, paused(found)
        elif found is not None:
            for activity in found.paused_activities:
                yield found.id, paused_call(found, activity)


def _since(pause: Pause) -> str:
    reason = f": {pause.reason}" if pause.reason else ""
    return f"since {pause.since:%Y-%m-%d %H:%M:%S} UTC (by {pause.by or 'an unnamed client'}{reason})"


def _silent(message: str) -> Failure:
    return Failure(Code.SERVICE_UNAVAILABLE, message)


async def _why_its_task_fails(client: Client, found: Described) -> str | None:
    """`None` if the pending workflow task, if any, is in its first attempt, or its last one ended well."""
    if found.task_attempt <= 1:
        return None
    event = await _last_failed_task(client, found)
    if event is None:
        return None
    times = f"{found.task_attempt - 1} times"
    if not event.HasField("workflow_task_failed_event_attributes"):
        return (
            f"a worker took its workflow task up and never answered, {times}; "
            "see the log of the workers of orders, docs/runbook.md, Stuck"
        )
    message = await _message_of(client, event.workflow_task_failed_event_attributes.failure)
    if (key := _unreadable(message)) is not None:
        return key
    return f"its workflow task has failed {times} ({message}); deploy a mend or the build before, it goes on by itself"


async def _last_failed_task(client: Client, found: Described) -> HistoryEvent | None:
    request = GetWorkflowExecutionHistoryReverseRequest(
        namespace=client.namespace,
        execution=WorkflowExecution(workflow_id=found.id, run_id=found.run_id),
        maximum_page_size=_EVENTS_LOOKED_AT,
    )
    page = await client.workflow_service.get_workflow_execution_history_reverse(request, retry=True)
    for event in page.history.events:
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED:
            return None
        if event.event_type in (
            EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED,
            EventType.EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT,
        ):
            return event
    return None


async def _message_of_query(client: Client, error: WorkflowQueryFailedError) -> str:
    """The words of a failed query. The SDK tells those of the outermost failure, which an encrypted one does not have:
    they are in the details of the server's answer."""
    answer = error.__context__
    for detail in answer.grpc_status.details if isinstance(answer, RPCError) else ():
        failed = QueryFailedFailure()
        if detail.Unpack(failed) and failed.HasField("failure"):
            return await _message_of(client, failed.failure)
    return error.message


async def _message_of(client: Client, failure: FailureMessage) -> str:
    """A failure's own words, with those of its causes: what is wrong with a key may be deep in them."""
    try:
        error: BaseException | None = await client.data_converter.decode_failure(failure)
    except SettingsError as unreadable:  # the failure itself is encrypted, with another key
        error = unreadable
    words: list[str] = []
    while error is not None:
        words.append(getattr(error, "message", None) or str(error))
        error = error.__cause__
    return next(iter(": ".join(filter(None, words)).splitlines()), "it says nothing")


def _unreadable(message: str) -> str | None:
    """The sentence about a key, if `message` is about one."""
    if _KEY not in message:
        return None
    return (
        f"its worker cannot read it: {message[message.index(_KEY) :]}; "
        f"give the workers of orders the {_KEY} that it was started with"
    )


async def _about_workers(client: Client, task_queue: str) -> str:
    last = await last_poll(client, task_queue, TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW)
    if last is None:
        return f"no worker polls its queue `{task_queue}`; start `worker.py --service {task_queue}`"
    return (
        f"no worker of its queue `{task_queue}` answered within {QUERY_TIMEOUT_S} s, though one polled it "
        f"{(datetime.now(UTC) - last).total_seconds():.0f} s ago: it is busy, or has stopped since; "
        f"ask again, or start `worker.py --service {task_queue}`"
    )
