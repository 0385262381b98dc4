"""The bank and the workflows on a server: makes documents, runs them, and reads their ends."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from pydantic import TypeAdapter
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError
from temporalio.worker import Worker

from composition.workers import WORKFLOW_RUNNER
from contracts.ids import lane_id
from contracts.lane import LaneEntry, LaneState
from contracts.order import WORKFLOWS_QUEUE
from recovery.lane import LaneWatch
from temporal_saga import Parked, SagaPlugin, TransactionLog
from workflows.lane import LaneWorkflow
from workflows.transaction import TransactionWorkflow

from ..eventually import eventually_async
from .bank import Bank
from .transfer import QUEUE, TransferWorkflow

_LOG = TypeAdapter(TransactionLog)
_TIMEOUT_S = 60
"""Limit in real time for one transaction or lane."""

Document = dict[str, Any]
Handle = WorkflowHandle[Any, Any]


def step(name: str, commit: str, rollback: str | None, account: str = "ann", **more: Any) -> Document:
    request = {"account": account, "amount_minor": 10} | more.pop("input", {})
    rolled_back = {} if rollback is None else {"rollback": f"bank.{rollback}"}
    return (
        {"name": name, "commit": f"bank.{commit}", "queue": QUEUE, "input": request, "timeout_s": 5}
        | rolled_back
        | more
    )


def transfer(**more: Any) -> Document:
    """A document that moves ten from ann to bob."""
    steps = [step("out", "withdraw", "put_back"), step("in", "deposit", "take_back", "bob")]
    return {"transaction_id": f"t-{uuid4().hex[:8]}", "steps": steps} | more


@dataclass
class Harness:
    client: Client
    bank: Bank = field(default_factory=Bank)
    name: str = field(default_factory=lambda: uuid4().hex[:8])
    """A part of the ids of this test's lanes and transactions, because tests share a server."""

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        client = self.client
        workflows = Worker(
            client,
            task_queue=WORKFLOWS_QUEUE,
            workflows=[TransactionWorkflow, LaneWorkflow, TransferWorkflow],
            activities=[LaneWatch(client).await_close],
            workflow_runner=WORKFLOW_RUNNER,
            plugins=[SagaPlugin()],
        )
        async with workflows, Worker(client, task_queue=QUEUE, activities=self.bank.activities()):
            yield

    async def start(self, document: Document, *, resumed: bool = False) -> Handle:
        return await self.client.start_workflow(
            TransactionWorkflow.run,
            args=[document, resumed],
            id=f"transaction/{document['transaction_id']}",
            task_queue=WORKFLOWS_QUEUE,
        )

    async def run(self, document: Document) -> TransactionLog:
        return await self.end(await self.start(document))

    async def end(self, handle: Handle) -> TransactionLog:
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                return _LOG.validate_python(await handle.result())
        except WorkflowFailureError as failed:
            assert isinstance(failed.cause, ApplicationError), failed.cause
            log = _LOG.validate_python(failed.cause.details[0])
            assert log.error is not None
            assert (log.error.code, log.error.message) == (failed.cause.type, failed.cause.message)
            return log

    async def until_parked(self, handle: Handle, *steps: str, attempts: int = 1) -> list[Parked]:
        """Wait until `steps`, and no others, are parked, each after at least so many attempts."""

        async def parked() -> list[Parked]:
            with suppress(RPCError):  # a lane has not started it yet
                calls: list[Parked] = await handle.query("parked", result_type=list[Parked])
                return calls
            return []

        def are_those(calls: list[Parked]) -> bool:
            return {call.step for call in calls if call.attempts >= attempts} == set(steps)

        return await eventually_async(parked, f"{steps} are parked", until=are_those)

    def small(self, number: int) -> Document:
        """A document of one step. The ids sort by number."""
        steps = [step("out", "withdraw", "put_back", f"a-{number}")]
        return transfer(transaction_id=f"{self.name}-{number:05}", steps=steps)

    def lane(self, name: str) -> str:
        return f"{name}-{self.name}"

    async def enter(self, document: Document, lane: str, state: LaneState = LaneState(), **more: Any) -> Handle:  # noqa: B008 — frozen
        """Enter a transaction as the command does; `state` is the input of a lane that does not run yet."""
        entry = LaneEntry(transaction_id=document["transaction_id"], document=document, size=len(str(document)), **more)
        return await self.client.start_workflow(
            LaneWorkflow.run,
            state,
            id=lane_id(self.lane(lane)),
            task_queue=WORKFLOWS_QUEUE,
            start_signal="enter",
            start_signal_args=[entry],
        )
