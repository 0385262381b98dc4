"""Starts trips on a server, stops them at a step, and reads how they ended."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from pydantic import TypeAdapter
from temporalio.client import WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Replayer, Worker

from saga import Status, TransactionLog

from .plan import siblings_of
from .workflows import Trip, TripWorkflow
from .world import Gate, World

Handle = WorkflowHandle[Any, TransactionLog]
_NEVER = datetime(2000, 1, 1, tzinfo=UTC)
_LOG = TypeAdapter(TransactionLog)
_PATIENCE_S = 20
"""Of real time, for one trip: a hundred times what it takes."""


@dataclass(frozen=True)
class End:
    """`code` is the type of the error that a rolled-back workflow fails with, and None for a confirmed one."""

    code: str | None
    message: str
    log: TransactionLog


@dataclass
class Agency:
    server: WorkflowEnvironment
    world: World = field(default_factory=World)
    queue: str = field(default_factory=lambda: f"kernel-{uuid4()}")
    max_cached_workflows: int = 100
    workflows: tuple[type, ...] = (TripWorkflow,)
    """Only what a test runs: each is imported into a sandbox when a worker starts."""

    def worker(self, *, workflows: bool = True, activities: bool = True) -> Worker:
        return Worker(
            self.server.client,
            task_queue=self.queue,
            workflows=self.workflows if workflows else [],
            activities=self.world.activities() if activities else [],
            max_cached_workflows=self.max_cached_workflows,
        )

    async def start(self, workflow: type = TripWorkflow, **trip: Any) -> Handle:
        transaction_id = str(uuid4())
        handle: Handle = await self.server.client.start_workflow(
            workflow.__name__,
            Trip(transaction_id, **trip),
            id=transaction_id,
            task_queue=self.queue,
            result_type=TransactionLog,
        )
        return handle

    async def run(self, workflow: type = TripWorkflow, **trip: Any) -> End:
        return await self.end(await self.start(workflow, **trip))

    async def stop_at(self, step: str, workflow: type = TripWorkflow, **trip: Any) -> tuple[Handle, Gate]:
        """A trip that waits in `step`, everything before it and beside it done."""
        gate = self.world.gate(step)
        handle = await self.start(workflow, **trip)
        async with asyncio.timeout(_PATIENCE_S):
            await gate.reached.wait()
        await self.until(handle, siblings_of(step), Status.DONE)
        return handle, gate

    async def end(self, handle: Handle) -> End:
        """How it ended, for the caller and for the query, which is answered from a replay of the history."""
        try:
            async with asyncio.timeout(_PATIENCE_S):
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

    async def replay(self, handle: Handle) -> None:
        """Raises if today's code does not decide as it decided then."""
        replayer = Replayer(workflows=self.workflows, data_converter=self.server.client.data_converter)
        await replayer.replay_workflow(await handle.fetch_history())

    async def until(self, handle: Handle, steps: Iterable[str], status: Status) -> TransactionLog:
        """Wait for the log to say so of all `steps`. What a service has done is not yet what the workflow knows."""
        async with asyncio.timeout(_PATIENCE_S):
            while True:
                log = await self.log(handle)
                if set(steps) <= {entry.step for entry in log.steps if entry.status is status}:
                    return log
                await asyncio.sleep(0.01)

    async def later(self, pause: timedelta) -> None:
        """Let the server's clock go on, and everything that is due until then happen."""
        await self.server.sleep(pause)


def without_times(log: TransactionLog) -> TransactionLog:
    """A replay joins workflow tasks that decided nothing, and so may read the clock some milliseconds later."""
    steps = [replace(e, started_at=_NEVER, ended_at=e.ended_at and _NEVER, parked_since=None) for e in log.steps]
    return replace(log, steps=tuple(steps))
