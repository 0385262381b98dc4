"""Starts trips on a server, stops them at a step, and reads how they ended."""

import asyncio
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from pydantic import TypeAdapter
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.exceptions import ApplicationError
from temporalio.runtime import Runtime, TelemetryConfig
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import UnsandboxedWorkflowRunner, Worker
from temporalio.worker._workflow_instance import _WorkflowLogicFlag

from temporal_saga import SEARCH_ATTRIBUTES, Entry, SagaPlugin, Status, TransactionLog
from temporal_saga.visibility import SAGA_ERROR_CODE, SAGA_PARKED_SINCE, SAGA_STATE
from tests.eventually import eventually_async
from tests.gate import Gate

from .plan import siblings_of
from .services import FakeServices
from .workflows import Trip, TripWorkflow

Handle = WorkflowHandle[Any, TransactionLog]
_NEVER = datetime(2000, 1, 1, tzinfo=UTC)
_LOG = TypeAdapter(TransactionLog)
SINGLE_BATCH = _WorkflowLogicFlag.PROCESS_WORKFLOW_ACTIVATION_JOBS_AS_SINGLE_BATCH
_IN_ONE_BATCH = pytest.param(True, id="in one batch", marks=pytest.mark.long)
both_orders = pytest.mark.parametrize("single_batch", [pytest.param(False, id="in phases"), _IN_ONE_BATCH])
"""Runs a test under both orders of a workflow task's jobs. temporalio 1.36.0 uses the second for new workflows, 1.36.1
does not any more, but a workflow that 1.36.0 has begun keeps it in every version."""
_TIMEOUT_S = 20
"""Real time for one trip: a hundred times what it takes."""


async def real_server(address: str) -> WorkflowEnvironment:
    """Connect to a real server, for sagas that are interrupted at a random moment: the server that skips time loses a
    workflow task that cancels an activity which has just completed."""
    quiet = Runtime(telemetry=TelemetryConfig(logging=None))
    client = await Client.connect(address, data_converter=pydantic_data_converter, runtime=quiet)
    return WorkflowEnvironment.from_client(client)


@dataclass(frozen=True)
class End:
    """`code` is the type of the error that a rolled-back workflow fails with, and None for a confirmed one."""

    code: str | None
    message: str
    log: TransactionLog


@dataclass
class Harness:
    server: WorkflowEnvironment
    services: FakeServices = field(default_factory=FakeServices)
    queue: str = field(default_factory=lambda: f"kernel-{uuid4()}")
    max_cached_workflows: int = 100
    workflows: tuple[type, ...] = (TripWorkflow,)
    single_batch: bool = False
    """Whether a workflow task's jobs are applied before any of the workflow's code runs, as in temporalio 1.36.0, or
    in phases: signals and updates, and what they wake, before replies and timers."""

    def worker(self, *, workflows: bool = True, activities: bool = True) -> Worker:
        worker = Worker(
            self.server.client,
            task_queue=self.queue,
            workflows=self.workflows if workflows else [],
            activities=self.services.activities() if activities else [],
            max_cached_workflows=self.max_cached_workflows,
            workflow_runner=UnsandboxedWorkflowRunner(),
            plugins=[SagaPlugin()],
        )
        if workflows:
            worker._set_default_workflow_logic_flag(SINGLE_BATCH, enabled=self.single_batch)
        return worker

    async def start(self, workflow: type = TripWorkflow, *, task: timedelta | None = None, **trip: Any) -> Handle:
        """Start a trip. `task` is the timeout of a workflow task: a local call hears of a cancel late in it."""
        transaction_id = str(uuid4())
        handle: Handle = await self.server.client.start_workflow(
            workflow.__name__,
            Trip(transaction_id, **trip),
            id=transaction_id,
            task_queue=self.queue,
            task_timeout=task,
            result_type=TransactionLog,
        )
        return handle

    async def run(self, workflow: type = TripWorkflow, **trip: Any) -> End:
        return await self.end(await self.start(workflow, **trip))

    async def stop_at(self, step: str, workflow: type = TripWorkflow, **trip: Any) -> tuple[Handle, Gate]:
        """Start a trip and return when it waits in `step`, and all calls before and beside that are done."""
        gate = self.services.gate(step)
        handle = await self.start(workflow, **trip)
        async with asyncio.timeout(_TIMEOUT_S):
            await gate.reached.wait()
        await self.until_known(handle, siblings_of(step))
        return handle, gate

    async def end(self, handle: Handle) -> End:
        """Wait for the end of a trip. A query, for which its history is replayed, must tell the same log."""
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                log = await handle.result()
            end = End(None, "", log)
        except WorkflowFailureError as failed:
            cause = failed.cause
            assert isinstance(cause, ApplicationError), cause
            log = _LOG.validate_python(cause.details[0])
            end = End(cause.type, cause.message, log)
            assert log.error is not None
            assert log.error.code == cause.type
        replayed = await self.log(handle)
        assert without_times(replayed) == without_times(log)
        return end

    async def log(self, handle: Handle) -> TransactionLog:
        log = await handle.query("transaction_log", result_type=TransactionLog)
        assert isinstance(log, TransactionLog)
        return log

    async def until_log(self, handle: Handle, holds: Callable[[TransactionLog], object]) -> TransactionLog:
        """Wait until the log of a trip is so. Not for a worker without a cache."""
        return await eventually_async(lambda: self.log(handle), "the log changes", until=holds, pause_s=0.02)

    async def until_step(self, handle: Handle, step: str, status: Status, attempts: int = 0) -> Entry:
        """Wait until the step has that status, after so many attempts at least, and return its entry."""

        def found(log: TransactionLog) -> list[Entry]:
            return [e for e in log.steps if (e.step, e.status) == (step, status) and e.attempts >= attempts]

        return found(await self.until_log(handle, found))[0]

    async def until_known(self, handle: Handle, steps: Iterable[str] = ()) -> None:
        """Wait until the workflow has handled all events so far, the results of `steps` among them.

        This reads the history: a query could make a worker without a cache drop a workflow task, which is then lost.
        """
        wanted = set(steps)

        async def all_known() -> bool:
            return _all_known((await handle.fetch_history()).events, wanted)

        await eventually_async(all_known, f"the workflow knows of {wanted or 'all events'}", pause_s=0.01)

    async def later(self, pause: timedelta) -> None:
        """Skip `pause` of the server's time, in which everything happens that is due."""
        await self.server.sleep(pause)


def _all_known(events: Sequence[HistoryEvent], steps: set[str]) -> bool:
    called = {e.event_id: e.activity_task_scheduled_event_attributes.activity_type.name for e in events}
    completed = {
        called[e.activity_task_completed_event_attributes.scheduled_event_id] for e in events if _is(e, "COMPLETED")
    }
    failed = {called[e.activity_task_failed_event_attributes.scheduled_event_id] for e in events if _is(e, "FAILED")}
    tasks = [e.event_type for e in events if EventType.Name(e.event_type).startswith("EVENT_TYPE_WORKFLOW_TASK_")]
    return steps <= completed | failed and tasks[-1] == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED


def _is(event: HistoryEvent, end: str) -> bool:
    return EventType.Name(event.event_type) == f"EVENT_TYPE_ACTIVITY_TASK_{end}"


def without_times(log: TransactionLog) -> TransactionLog:
    """Remove the times: a replay merges workflow tasks without commands, and may read the clock a little later."""
    steps = [replace(e, started_at=_NEVER, ended_at=e.ended_at and _NEVER, parked_since=None) for e in log.steps]
    return replace(log, steps=tuple(steps))


async def failed_task(handle: Handle) -> str:
    """Wait for a workflow task to fail, and return its error message."""

    async def message() -> str:
        failed = EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED
        events = [event for event in (await handle.fetch_history()).events if event.event_type == failed]
        return events[0].workflow_task_failed_event_attributes.failure.message if events else ""

    return await eventually_async(message, "a workflow task fails", pause_s=0.02)


async def published(handle: Handle) -> tuple[str | None, str | None, str | None]:
    """The search attributes as last written, from the history: the test server shows an unset one as null."""
    written: dict[str, str | None] = {key.name: None for key in SEARCH_ATTRIBUTES}
    async for event in handle.fetch_history_events():
        fields = event.upsert_workflow_search_attributes_event_attributes.search_attributes.indexed_fields
        written |= {name: json.loads(payload.data or b"null") for name, payload in fields.items()}
    return written[SAGA_STATE.name], written[SAGA_ERROR_CODE.name], written[SAGA_PARKED_SINCE.name]
