"""What all ways in which an order travels have in common: the protocol, and how a workflow with one saga is seen."""

from collections.abc import Coroutine
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple, Protocol, Self

from pydantic import ValidationError
from temporalio.client import Client, WorkflowHandle
from temporalio.service import RPCError, RPCStatusCode

from client import handles
from client.standing import log_of, outcome_of, wait_for_end
from contracts import order
from contracts.errors import Code
from contracts.ids import Coordinator, Kind
from contracts.order import Order, OrderOnRecord, OrderOptions
from temporal_saga import TransactionLog


class Until(StrEnum):
    """What the client of an order waits for. CONFIRMED is the decision: the pivot is done, finishes may be open."""

    CONFIRMED = "confirmed"
    ENDED = "ended"


WAIT_BEYOND_DEADLINE_S = 60
"""An order unwinds when its deadline is over: after two rounds of undos, a minute, the client returns how it stands."""


@dataclass(frozen=True)
class OrderStatus:
    """What is known of an order: its log, the workflow that coordinates it, and whether that is closed."""

    log: TransactionLog
    closed: bool
    coordinator: Coordinator

    @property
    def has_ended(self) -> bool:
        """Whether the order has: a batch goes on with others, and a saga with its announcements. A choreographed order
        has ended when all its participants have."""
        return self.closed or (self.log.state.is_end and self.coordinator.kind is not Kind.PARTICIPANT)

    @property
    def is_duplicate_of_other(self) -> bool:
        """Whether the workflow was refused because another coordinator, or another content, has this order's id."""
        error = self.log.error
        return error is not None and is_duplicate_of_other(error.code, error.step)


def is_duplicate_of_other(code: str | None, step: str | None) -> bool:
    """Whether a saga's error says that another coordinator or another content has the order's id."""
    return step == order.create.name and code == Code.IDEMPOTENCY_CONFLICT


class Engine(Protocol):
    """One way in which an order travels, once it is under way."""

    async def status(self, order_id: str) -> OrderStatus | None:
        """How the order stands; `None` if Temporal knows no workflow of it."""

    async def wait(self, placed: Order) -> TransactionLog | None:
        """The order's end, or how it stands when it is parked, paused or overdue; `None` as for `status`."""

    async def cancel(self, order_id: str, reason: str) -> bool:
        """Ask for the order's cancellation; false if it has just ended.

        Raises `CancelRefused`, `Paused`, and `NotAnswered` if no worker takes it up.
        """


class SingleOrderEngine(Engine, Protocol):
    """An engine that takes orders one by one. A batch is started with all of its orders, and resumed order by order as
    a saga."""

    async def start(self, placed: Order) -> None:
        """Start the order, or find it if it was started before with the same content. Raises `DuplicateOrder`."""

    async def decision(self, placed: Order) -> TransactionLog | None:
        """Start the order as `start` does. Its log once its pivot is done (CONFIRMED, though finishes may be open);
        otherwise as `wait`."""

    async def resume(self, placed: OrderOnRecord) -> WorkflowHandle[Any, Any]:
        """Bring an order on record to its end whose coordinator is closed without one; the workflow that does so.

        Raises `WorkflowAlreadyStartedError` if another client was faster.
        """


class OrderInput(NamedTuple):
    """What a workflow of an order was started with: the order, and the coordinator in whose name it acts."""

    order: Order
    coordinator: str | None

    @classmethod
    def of(cls, arguments: list[Any]) -> Self | None:
        """The order in a workflow's arguments; `None` if there is none in them."""
        document, options = [*arguments, None, None][:2]
        try:
            return cls(Order.model_validate(document), OrderOptions.model_validate(options or {}).coordinator)
        except ValidationError:
            return None


async def status_at(client: Client, workflow_id: str, run_id: str | None = None) -> OrderStatus | None:
    """How the saga of a workflow's run stands, by default of the newest; `None` if there is no such workflow."""
    found = await handles.describe(client, workflow_id, run_id)
    if found is None:
        return None
    return OrderStatus(await log_of(client, found), not found.is_open, Coordinator.parse(workflow_id))


async def end_of_saga(client: Client, workflow_id: str) -> TransactionLog | None:
    """The end of a workflow that runs one saga; `None` if there is no such workflow."""
    try:
        return await outcome_of(client.get_workflow_handle(workflow_id, result_type=TransactionLog))
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        return None


async def wait_for_saga(
    client: Client, workflow_id: str, seconds: float, end: Coroutine[Any, Any, TransactionLog | None] | None = None
) -> TransactionLog | None:
    """What `end` returns about a workflow that runs one saga, by default its end; or how it stands when it is parked
    or paused, or `seconds` are over."""

    async def look() -> TransactionLog | None:
        now = await status_at(client, workflow_id)
        return None if now is None else now.log

    async def goes_on() -> bool:
        found = await handles.describe(client, workflow_id)
        return found is not None and found.goes_on

    return await wait_for_end(end or end_of_saga(client, workflow_id), look, seconds, goes_on)
