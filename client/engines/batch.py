"""Hundreds of orders in one workflow: cut into batches, started, and each order seen in its batch."""

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from temporalio.api.common.v1 import Payload
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError, WorkflowHandle
from temporalio.common import Priority, RawValue, WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from client import handles, updates
from client.engines.engine import OrderStatus, status_at
from client.standing import log_by_query, told_as_closed
from client.updates import request_cancel
from contracts.batch import MAX_BYTES, MAX_ORDERS, BatchOutcome
from contracts.ids import BATCH_WORKFLOW, Coordinator, new_batch_id, order_workflow_id
from contracts.order import WORKFLOWS_QUEUE, Order
from runtime import summaries
from temporal_saga import State, TransactionLog

DEFAULT_SIZE = 500
"""Orders of a batch by default: a batch of 250 costs half as much again per order, at half the wait."""
_OUTCOME_TIMEOUT_S = 240
"""A wait for another client's batch: one attempt of each of its steps, all of them at their slowest."""

_PRIORITY = Priority(priority_key=4)
"""A batch and its calls come after orders that are placed one by one, whose clients wait for each."""

Handle = WorkflowHandle[object, BatchOutcome]


@dataclass
class Batch:
    """Orders for one workflow, as the JSON that they have been checked as. No id is in it twice."""

    id: str = field(default_factory=new_batch_id)
    documents: dict[str, bytes] = field(default_factory=dict)
    size_bytes: int = 2

    def takes(self, order_id: str, document: bytes, limit: int) -> bool:
        """Whether the order fits in, and its id is not in the batch yet."""
        fits = self.size_bytes + len(document) + 1 <= MAX_BYTES
        return order_id not in self.documents and len(self.documents) < limit and (fits or not self.documents)

    def add(self, order_id: str, document: bytes) -> None:
        self.documents[order_id] = document
        self.size_bytes += len(document) + 1

    def order(self, order_id: str) -> Order:
        return Order.model_validate_json(self.documents[order_id])

    @property
    def json(self) -> bytes:
        return b"[" + b",".join(self.documents.values()) + b"]"


def batches(orders: Iterable[Order], size: int = DEFAULT_SIZE) -> Iterator[Batch]:
    """Cut `orders` into batches of at most `size`, in their order."""
    batch = Batch()
    for order in orders:
        document = order.model_dump_json().encode()
        if not batch.takes(order.order_id, document, min(size, MAX_ORDERS)):
            yield batch
            batch = Batch()
        batch.add(order.order_id, document)
    if batch.documents:
        yield batch


class BatchEngine:
    """One batch, as the coordinator of its orders."""

    def __init__(self, client: Client, batch_id: str) -> None:
        self._client = client
        self._id = batch_id
        self._logs: dict[str, TransactionLog] | None = None
        self.handle: Handle = client.get_workflow_handle(batch_id, result_type=BatchOutcome)

    async def start(self, batch: Batch) -> None:
        """Start the batch; a second start finds the first."""
        with suppress(WorkflowAlreadyStartedError):
            await self._client.start_workflow(**self._with_input(batch))

    async def decision(self, batch: Batch) -> BatchOutcome:
        """Start the batch, and return how it stands once each order is decided: see `BatchWorkflow.decision`.

        Raises `WorkflowFailureError` if it was closed from outside.
        """
        started, content = self._with_input(batch), batch.json
        try:
            outcome = await updates.start_for_decision(self._client, started, content, BatchOutcome)
        except WorkflowAlreadyStartedError:
            outcome = await updates.decision(self._client, self._id, content, BatchOutcome)
        return outcome or await self.outcome()

    def _with_input(self, batch: Batch) -> dict[str, Any]:
        """How the batch's workflow is started: the arguments of `Client.start_workflow`."""
        return {
            "workflow": BATCH_WORKFLOW,
            "args": [RawValue(Payload(metadata={"encoding": b"json/plain"}, data=batch.json))],
            "id": self._id,
            "task_queue": WORKFLOWS_QUEUE,
            "priority": _PRIORITY,
            "id_reuse_policy": WorkflowIDReusePolicy.REJECT_DUPLICATE,
            "id_conflict_policy": WorkflowIDConflictPolicy.FAIL,
            **summaries.of_batch(list(batch.documents)),
        }

    async def outcome(self) -> BatchOutcome:
        """How the batch ended, when it does. Raises `WorkflowFailureError` if it was closed from outside."""
        return await handles.result_of(self.handle)

    async def detached(self) -> set[str]:
        """The orders that the batch has left to workflows of their own, when it has ended. Raises as `outcome`."""
        return {order_id for order_id, log in (await self.outcome()).logs().items() if not log.state.is_end}

    async def listed(self, status: WorkflowExecutionStatus) -> list[TransactionLog]:
        """The orders as they stand, but for those of a closed batch that have workflows of their own.

        Raises `RPCError`, `WorkflowQueryFailedError` and `WorkflowPaused`.
        """
        if status is WorkflowExecutionStatus.COMPLETED:
            return [log for log in (await self.outcome()).logs().values() if log.state.is_end]
        if status is not WorkflowExecutionStatus.RUNNING:
            return []
        outcome = await handles.query(self._client, self.handle, "outcome", result_type=BatchOutcome)
        return list(outcome.logs().values())

    async def wait(self, placed: Order) -> TransactionLog | None:
        """The order's log when the batch has ended, though it may have detached the order to a workflow of its own."""
        if self._logs is None:
            with suppress(WorkflowFailureError, TimeoutError):  # closed from outside, or slow: see how it stands
                try:
                    self._logs = (await asyncio.wait_for(self.outcome(), _OUTCOME_TIMEOUT_S)).logs()
                except RPCError as error:
                    if error.status is not RPCStatusCode.NOT_FOUND:
                        raise
        if self._logs is not None:
            return self._logs.get(placed.order_id)
        now = await self.status(placed.order_id)
        return None if now is None else now.log

    async def status(self, order_id: str) -> OrderStatus | None:
        found, coordinator = await handles.status_of(self._client, self._id), Coordinator.parse(self._id)
        if found is None:
            return None
        if found is WorkflowExecutionStatus.RUNNING:
            return OrderStatus(
                await log_by_query(self._client, self._id, order_id), closed=False, coordinator=coordinator
            )
        if found is WorkflowExecutionStatus.COMPLETED:
            log = (await self.outcome()).logs()[order_id]
            if log.state.is_end:
                return OrderStatus(log, closed=True, coordinator=coordinator)
            own = await status_at(self._client, order_workflow_id(order_id))
            return None if own is None or own.is_duplicate_of_other else own
        log = TransactionLog(order_workflow_id(order_id), State.RUNNING)
        return OrderStatus(told_as_closed(log, self._id), closed=True, coordinator=coordinator)

    async def cancel(self, order_id: str, reason: str) -> bool:
        return await request_cancel(self._client, self._id, order_id, [order_id, reason])
