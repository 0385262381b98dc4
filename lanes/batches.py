"""Orders cut into batches, a batch started, and what became of its orders."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from uuid import uuid4

from temporalio.api.common.v1 import Payload
from temporalio.client import Client, WorkflowHandle
from temporalio.common import RawValue, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError

from contracts.batch import BATCH_WORKFLOW, MAX_BYTES, MAX_ORDERS, BatchOutcome
from contracts.order import WORKFLOWS_QUEUE, Order

DEFAULT_SIZE = 500
"""Orders of a batch, where nobody says otherwise: one of 250 costs half as much again per order, at half the wait."""

_PREFIX = "batch/"

Handle = WorkflowHandle[object, BatchOutcome]


@dataclass
class Batch:
    """Orders to be carried together, with the JSON they have been checked as. No id is in it twice."""

    id: str = field(default_factory=lambda: f"{_PREFIX}{uuid4()}")
    documents: dict[str, bytes] = field(default_factory=dict)
    size_bytes: int = 2

    def takes(self, order_id: str, document: bytes, limit: int) -> bool:
        """Whether there is room for one more, and it is not in it yet."""
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
    """`orders` in batches of at most `size`, in their order."""
    batch = Batch()
    for order in orders:
        document = order.model_dump_json().encode()
        if not batch.takes(order.order_id, document, min(size, MAX_ORDERS)):
            yield batch
            batch = Batch()
        batch.add(order.order_id, document)
    if batch.documents:
        yield batch


async def start(client: Client, batch: Batch) -> Handle:
    """Start the batch; a second start finds the first."""
    payload = Payload(metadata={"encoding": b"json/plain"}, data=batch.json)
    try:
        return await client.start_workflow(
            BATCH_WORKFLOW,
            RawValue(payload),
            id=batch.id,
            task_queue=WORKFLOWS_QUEUE,
            result_type=BatchOutcome,
            id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
        )
    except WorkflowAlreadyStartedError:
        return handle_of(client, batch.id)


def is_batch(workflow_id: str) -> bool:
    return workflow_id.startswith(_PREFIX)


def handle_of(client: Client, batch_id: str) -> Handle:
    return client.get_workflow_handle(batch_id, result_type=BatchOutcome)
