"""One case under way: workers, the workflow, its end, and what the fault needs to stop and to go on."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from temporalio.client import Client, WorkflowFailureError, WorkflowHandle, WorkflowQueryFailedError
from temporalio.exceptions import ApplicationError, CancelledError
from temporalio.exceptions import TimeoutError as TimedOut
from temporalio.service import RPCError
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from temporal_saga.journal import TransactionLog
from temporal_saga.plugin import SagaPlugin
from temporal_saga.testing import history
from temporal_saga.testing.attempts import Attempt, CaseInterceptor, Deliver, Delivery, Records
from temporal_saga.testing.changes import Changes, less
from temporal_saga.testing.faults import Case
from temporal_saga.testing.history import History
from temporal_saga.testing.subject import SagaUnderTest

_REAL_S = 20
"""Limit on the real time of a case: many times what it takes. Activities that hang for real end here."""
_LOOK_S = 0.005
_CACHED = 100
"""Sagas that a worker keeps in memory: more than there are."""
_QUIET_S = 2
"""Limit on the wait for the other calls of a group, of which one may be between two attempts."""


@dataclass(frozen=True)
class End:
    """How the workflow ended. `confirmed` is what it says itself, and `None` if it has not ended."""

    words: str
    confirmed: bool | None = None


@dataclass(frozen=True)
class Execution:
    """All that is known of a case when it is over. `log` is the transaction log, if the workflow has one, and
    `not_replayed` says why its history cannot be replayed."""

    case: Case
    end: End
    changes: Changes
    attempts: list[Attempt]
    history: History
    injected: bool
    log: TransactionLog | None
    not_replayed: str


class Run:
    """A case under way. A fault holds an attempt between `reached` and `release`, and an undo likewise."""

    def __init__(self, server: WorkflowEnvironment, saga: SagaUnderTest, case: Case) -> None:
        self.saga = saga
        self.case = case
        self.server = server
        self.id = f"case-{uuid4()}"
        self.workflow_id = saga.workflow_id(self.id)
        self.records = Records(self.id, saga.snapshot)
        self.injected = set[str]()
        self.late: list[Delivery] = []
        self.reached, self.release = asyncio.Event(), asyncio.Event()
        self.ended = asyncio.Event()
        self.handle: WorkflowHandle[Any, Any]
        self._workflow_worker = AsyncExitStack()
        self._client = _client(server.client, saga)
        self._threads = saga.activity_executor or ThreadPoolExecutor()

    # --- what a fault does ----------------------------------------------------------------------------------------

    async def hold(self) -> None:
        self.reached.set()
        await self.release.wait()

    async def held(self) -> None:
        """Return when the call is held, and the workflow waits for it alone.

        A worker that is stopped loses its workflow task. The server loses one that cancels an activity which has just
        completed. Either would cost ten seconds of real time, because a held call stops the clock.
        """
        await self.reached.wait()
        with suppress(TimeoutError):
            async with asyncio.timeout(_QUIET_S):
                while (now := await self.history()).has_open_task or now.open_calls > 1:
                    await asyncio.sleep(_LOOK_S)

    async def cancel(self) -> None:
        """Cancel the workflow, and return when it knows, or has ended."""
        with suppress(RPCError):  # it has ended
            await self.handle.cancel(reason="cancelled by the test")
        async with asyncio.timeout(_REAL_S):
            while not self.ended.is_set() and not (await self.history()).cancel_is_known:
                await asyncio.sleep(_LOOK_S)

    async def stop_workflow_worker(self) -> None:
        await self._workflow_worker.aclose()

    async def start_workflow_worker(self, cached: int = _CACHED) -> None:
        await self._workflow_worker.enter_async_context(self._worker(workflows=True, cached=cached))

    async def sleep_until(self, began: datetime, seconds: float) -> None:
        """Skip time until `seconds` after `began`, and a second."""
        due = began + timedelta(seconds=seconds + 1)
        await self.server.sleep(max(due - await self.server.get_current_time(), timedelta()))

    async def history(self) -> History:
        return history.read((await self.handle.fetch_history()).events)

    # --- from the start to the end ----------------------------------------------------------------------------------

    @asynccontextmanager
    async def workers(self, deliver: Deliver, *, replaced: bool) -> AsyncIterator[None]:
        """Serve the case within the block. A worker that is to be replaced has no cache, which would lose a task."""
        self._interceptor = CaseInterceptor(self.workflow_id, self.records, deliver)
        if not replaced:
            async with self._worker(workflows=True, activities=True):
                yield
            return
        async with self._worker(workflows=False), self._workflow_worker:
            await self.start_workflow_worker(cached=0)
            yield

    def _worker(self, *, workflows: bool, activities: bool = False, cached: int = _CACHED) -> Worker:
        """A worker of the workflow, of the activities, or of both. The first also runs local activities."""
        saga = self.saga
        return Worker(
            self._client,
            task_queue=self.id,
            workflows=[saga.definition.cls, *saga.other_workflows] if workflows else [],
            activities=saga.activities,
            no_remote_activities=workflows and not activities,
            activity_executor=self._threads,
            workflow_runner=saga.workflow_runner,
            max_cached_workflows=cached,
            plugins=[SagaPlugin(), *saga.plugins],
            interceptors=[*saga.interceptors, self._interceptor],
        )

    async def start(self) -> None:
        self.handle = await self._client.start_workflow(
            self.saga.workflow,
            args=self.saga.arguments(self.id),
            id=self.workflow_id,
            task_queue=self.id,
            execution_timeout=self.saga.longest,
        )

    async def end(self) -> End:
        try:
            async with asyncio.timeout(_REAL_S):
                result = await self.handle.result()
        except WorkflowFailureError as failed:
            return _failed(failed)
        except TimeoutError:
            failed_task = (await self.history()).failed_task
            why = f"its workflow task fails: {failed_task}" if failed_task else "an activity or the workflow waits"
            await self.handle.terminate()
            return End(f"has not ended after {_REAL_S} s of real time: {why}")
        finally:
            self.ended.set()
        confirmed = self.saga.says_confirmed(result)
        return End("ends as confirmed" if confirmed else f"ends as not confirmed ({str(result)[:80]})", confirmed)

    async def replay(self) -> tuple[TransactionLog | None, str]:
        """Ask the workflow, which has ended, so that the worker replays its history: for the transaction log, if it has
        one (`temporal_saga.SagaWorkflow`). Return the log, or why the history cannot be replayed."""
        has_log = "transaction_log" in self.saga.definition.queries
        name, answer = ("transaction_log", TransactionLog) if has_log else ("__stack_trace", None)
        try:
            log = await self.handle.query(name, result_type=answer)
        except (WorkflowQueryFailedError, RPCError) as failed:
            return None, str(failed)
        return (log if has_log else None), ""

    async def changes_since(self, before: Changes) -> Changes:
        return less(await self.saga.snapshot(self.id), before)


def _client(client: Client, saga: SagaUnderTest) -> Client:
    if saga.data_converter is None:
        return client
    config = client.config()
    config["data_converter"] = saga.data_converter
    return Client(**config)


def _failed(failed: WorkflowFailureError) -> End:
    cause = failed.cause
    if isinstance(cause, TimedOut):
        return End("has not ended")
    if isinstance(cause, CancelledError):
        return End("ends as cancelled", confirmed=False)
    code = cause.type if isinstance(cause, ApplicationError) and cause.type else type(cause).__name__
    return End(f"ends as failed ({code})", confirmed=False)
