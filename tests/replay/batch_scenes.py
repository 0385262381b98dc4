"""The batches whose histories are recorded: the orders of each, what fails, and how the orders must end."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from temporalio.client import Client, WorkflowHistory

from cli import documents
from client.engines.batch import Batch, BatchEngine
from contracts.batch import BatchOutcome
from contracts.errors import Code
from contracts.ids import order_workflow_id
from runtime.faults import Fault, FaultKind
from temporal_saga import State

_LINE = {"sku": "BOOK-1", "quantity": 1, "unit_price_minor": 1299}
_NO_SKU: dict[str, Any] = {"lines": [_LINE | {"sku": "NONE-1"}]}
_REQUIRED: dict[str, Any] = {"notification": "required"}
_BOUNCES: dict[str, Any] = {"contact": {"email": "ada@nowhere.invalid", "phone": "+442071234567"}}
_DETACHED = (State.RUNNING, None)

End = tuple[State, Code | None]


@dataclass(frozen=True)
class BatchScene:
    name: str
    orders: Mapping[str, dict[str, Any]]
    """What is special about each order, by the end of its id."""
    ends: Mapping[str, End]
    """The states of the orders at the end of the batch; that of a detached order is not an end."""
    broken: str = ""
    """The operation that gets no answer in this scene, if any."""

    @property
    def batch_id(self) -> str:
        return f"batch/{self.name}"

    def order_id(self, suffix: str) -> str:
        return f"{self.name}-{suffix}"

    @property
    def fault(self) -> Fault:
        """A fault of the batched operation, if the order `poison` is in the batch."""
        poison = order_workflow_id(self.order_id("poison"))
        return Fault(operation=f"{self.broken}.batch", transaction=poison, kind=FaultKind.ERROR_AFTER)


BATCH_SCENES = (
    BatchScene(
        "batch-refusals",
        {
            "good": {},
            "notified": _REQUIRED,
            "stranger": {"customer_id": "nobody"},
            "no-sku": _NO_SKU,
            "bounces": _BOUNCES | _REQUIRED,
        },
        {
            "good": (State.CONFIRMED, None),
            "notified": (State.CONFIRMED, None),
            "stranger": (State.ROLLED_BACK, Code.PAYMENT_DECLINED),
            "no-sku": (State.ROLLED_BACK, Code.UNKNOWN_SKU),
            "bounces": (State.ROLLED_BACK, Code.NOTIFICATION_FAILED),
        },
    ),
    BatchScene(
        "batch-unknown-step",
        {"poison": {}, "good": {}},
        dict.fromkeys(("poison", "good"), _DETACHED),
        "inventory.reserve",
    ),
    BatchScene(
        "batch-unknown-pivot", {"poison": {}, "good": {}}, dict.fromkeys(("poison", "good"), _DETACHED), "order.confirm"
    ),
    BatchScene(
        "batch-stuck-undo",
        {"poison": _NO_SKU, "good": {}},
        {"poison": (State.COMPENSATING, Code.UNKNOWN_SKU), "good": (State.CONFIRMED, None)},
        "payment.cancel",
    ),
)


async def play_batch(client: Client, scene: BatchScene) -> None:
    batch = Batch(scene.batch_id)
    for suffix, changes in scene.orders.items():
        order_id = scene.order_id(suffix)
        batch.add(order_id, json.dumps(documents.document(order_id, "c-demo", [_LINE]) | changes).encode())
    engine = BatchEngine(client, batch.id)
    await engine.start(batch)
    await engine.outcome()


def check_batch(history: WorkflowHistory, scene: BatchScene) -> None:
    """Fail if the orders of `history` did not end as `scene` says."""
    [result] = history.events[-1].workflow_execution_completed_event_attributes.result.payloads
    logs = BatchOutcome.model_validate_json(result.data).logs()
    found = {order_id: (log.state, log.error and log.error.code) for order_id, log in logs.items()}
    assert found == {scene.order_id(suffix): end for suffix, end in scene.ends.items()}, scene.name
