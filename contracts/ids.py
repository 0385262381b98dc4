"""The ids of workflows and the names of their types: built and parsed here and nowhere else.

| workflow | id | coordinates |
|---|---|---|
| an order's own | `order/<order id>` | the order, unless its record names another |
| a participant | `choreography/<order id>/<service>` | the order, if it is the order service's |
| a batch | `batch/<uuid>` | the orders in it that have no workflow of their own |
| a transaction given as data | `transaction/<transaction id>` | itself |
| a serial lane | `lane/<key>` | the turn of its transactions |

An order's transaction has the id of its workflow, in every service: `order/<order id>`.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Self
from uuid import uuid4

ORDER_WORKFLOW = "OrderWorkflow"
PARTICIPANT_WORKFLOW = "ParticipantWorkflow"
BATCH_WORKFLOW = "BatchWorkflow"
TRANSACTION_WORKFLOW = "TransactionWorkflow"
LANE_WORKFLOW = "LaneWorkflow"
SWEEP_WORKFLOW = "SweepWorkflow"
SCHEDULE_ID = "sweep"
"""The schedule that starts the sweep's workflow."""

DECIDER = "order"
"""The service whose participant decides about a choreographed order; its task queue has the same name."""
DECIDERS = (
    f"(WorkflowType = '{ORDER_WORKFLOW}' OR (WorkflowType = '{PARTICIPANT_WORKFLOW}' AND TaskQueue = '{DECIDER}'))"
)
"""Visibility query for the one workflow that decides about an order, for each order outside of batches."""


class Kind(StrEnum):
    """What a workflow coordinates; the value is the first part of its id."""

    ORDER = "order"
    PARTICIPANT = "choreography"
    BATCH = "batch"
    TRANSACTION = "transaction"
    LANE = "lane"
    OTHER = ""
    """Any client may start a workflow of ours under an id of its own."""


@dataclass(frozen=True)
class Coordinator:
    """A workflow, by its id. `name` is the order's, transaction's or batch's id, or the lane's key."""

    workflow_id: str
    kind: Kind
    name: str
    service: str = ""
    """The participant's service; empty for other kinds."""

    @classmethod
    def parse(cls, workflow_id: str) -> Self:
        first, *rest = workflow_id.split("/")
        kind = Kind(first) if rest and first in set(Kind) else Kind.OTHER
        match kind, rest:
            case Kind.PARTICIPANT, [order_id, service]:
                return cls(workflow_id, kind, order_id, service)
            case Kind.ORDER | Kind.BATCH | Kind.TRANSACTION | Kind.LANE, [name]:
                return cls(workflow_id, kind, name)
        return cls(workflow_id, Kind.OTHER, workflow_id.rpartition("/")[2])

    @property
    def transaction_id(self) -> str:
        """The saga that the workflow is about, as the log and the services call it."""
        return order_workflow_id(self.name) if self.kind is Kind.PARTICIPANT else self.workflow_id

    @property
    def decides_an_order(self) -> bool:
        return self.kind is Kind.ORDER or (self.kind is Kind.PARTICIPANT and self.service == DECIDER)


def order_workflow_id(order_id: str) -> str:
    """The workflow id of an order, which is also its transaction id."""
    return f"{Kind.ORDER}/{order_id}"


def is_orders(transaction_id: str) -> bool:
    """Whether a transaction is that of an order, and not one given as data."""
    return transaction_id.startswith(order_workflow_id(""))


def order_id_of(transaction_id: str) -> str:
    """The order that a transaction id, or an order's id itself, is about."""
    return transaction_id.removeprefix(order_workflow_id(""))


def participant_id(order_id: str, service: str = DECIDER) -> str:
    return f"{Kind.PARTICIPANT}/{order_id}/{service}"


def new_batch_id() -> str:
    return f"{Kind.BATCH}/{uuid4()}"


def transaction_workflow_id(transaction_id: str) -> str:
    return f"{Kind.TRANSACTION}/{transaction_id}"


def whole_of(transaction_id: str) -> str:
    """The order's transaction, or the transaction that this is a part of: `t-1/goods` belongs to `t-1`."""
    return transaction_id if is_orders(transaction_id) else transaction_id.partition("/")[0]


def lane_id(key: str) -> str:
    return f"{Kind.LANE}/{key}"
