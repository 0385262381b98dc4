"""The recorded workflows that are neither an order's own nor a batch, and how they must end."""

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter
from temporalio.client import Client, WorkflowHistory

from cli import documents
from client.engines.choreography import ChoreographyEngine
from client.orders import Mode, Orders
from client.transactions import Transactions
from contracts.choreography import PARTICIPANTS
from contracts.ids import lane_id, order_workflow_id, participant_id, transaction_workflow_id
from contracts.order import Order
from contracts.transaction import Transaction
from temporal_saga import State, TransactionLog

_LOG = TypeAdapter(TransactionLog)
_CUSTOMER = "c-demo"
_NO_SKU = "NONE-1"


@dataclass(frozen=True)
class OtherScene:
    name: str
    play: Callable[[Client], Awaitable[Any]]
    ends: Mapping[str, State | None]
    """The state in which the log of each workflow ends, by workflow id; `None` for a workflow without a log."""


def file_of(workflow: str) -> str:
    """The name of the file of a workflow's history, without its extension."""
    return workflow.replace("/", "-")


def _order(order_id: str, sku: str = "BOOK-1") -> Order:
    line = {"sku": sku, "quantity": 1, "unit_price_minor": 1299}
    return Order.model_validate(documents.document(order_id, _CUSTOMER, [line]))


def _colocated(order_id: str) -> Callable[[Client], Awaitable[Any]]:
    async def play(client: Client) -> None:
        await Orders(client).place(_order(order_id), Mode.COLOCATED)
        assert (await client.get_workflow_handle(order_workflow_id(order_id)).describe()).close_time is not None

    return play


def _choreographed(order_id: str, sku: str = "BOOK-1") -> Callable[[Client], Awaitable[Any]]:
    async def play(client: Client) -> None:
        await Orders(client).place(_order(order_id, sku), Mode.CHOREOGRAPHY)
        for service in PARTICIPANTS:
            await ChoreographyEngine(client).handle_of(order_id, service).result()

    return play


def _in_a_lane(name: str, sku: str) -> Callable[[Client], Awaitable[Any]]:
    """A transaction as data: it holds the payment, then the stock."""

    def step(operation: str, undo: str, **more: Any) -> dict[str, Any]:
        request = {"transaction_id": name, "order_id": name} | more
        queue = operation.partition(".")[0]
        return {"name": queue, "commit": operation, "rollback": undo, "queue": queue, "input": request, "timeout_s": 5}

    money = {"customer_id": _CUSTOMER, "amount_minor": 100, "currency": "EUR"}
    steps = [
        step("payment.authorize", "payment.cancel", **money),
        step("inventory.reserve", "inventory.release", lines=[{"sku": sku, "quantity": 1}]),
    ]
    transaction = Transaction.model_validate({"transaction_id": name, "steps": steps})

    async def play(client: Client) -> None:
        await Transactions(client).enter(transaction, name)
        await client.get_workflow_handle(lane_id(name)).result()  # it waits for the transaction, then for more entries

    return play


def _participants(order_id: str, state: State) -> dict[str, State | None]:
    return {participant_id(order_id, service): state for service in PARTICIPANTS}


OTHER_SCENES = (
    OtherScene(
        "colocated", _colocated("colocated-confirmed"), {order_workflow_id("colocated-confirmed"): State.CONFIRMED}
    ),
    OtherScene(
        "choreographed",
        _choreographed("choreographed-confirmed"),
        _participants("choreographed-confirmed", State.CONFIRMED),
    ),
    OtherScene(
        "choreographed and refused",
        _choreographed("choreographed-refused", _NO_SKU),
        _participants("choreographed-refused", State.ROLLED_BACK),
    ),
    OtherScene(
        "transaction",
        _in_a_lane("recorded-confirmed", "BOOK-1"),
        {transaction_workflow_id("recorded-confirmed"): State.CONFIRMED, lane_id("recorded-confirmed"): None},
    ),
    OtherScene(
        "transaction refused",
        _in_a_lane("recorded-refused", _NO_SKU),
        {transaction_workflow_id("recorded-refused"): State.ROLLED_BACK, lane_id("recorded-refused"): None},
    ),
)


def check_other(history: WorkflowHistory, state: State | None) -> None:
    """Fail if `history` does not end in `state`."""
    if state is None:
        return
    last = history.events[-1]
    payloads = (
        last.workflow_execution_completed_event_attributes.result.payloads
        or last.workflow_execution_failed_event_attributes.failure.application_failure_info.details.payloads
    )
    ended = json.loads(payloads[0].data)
    assert _LOG.validate_python(ended.get("log", ended)).state is state, history.workflow_id
