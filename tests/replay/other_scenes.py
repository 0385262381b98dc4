"""The workflows besides an order's own and its batch's whose histories are recorded, and how they must end."""

from __future__ import annotations

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
from saga import State, TransactionLog

_LOG = TypeAdapter(TransactionLog)
_CUSTOMER = "c-demo"
_NO_SKU = "NONE-1"


@dataclass(frozen=True)
class OtherScene:
    """`ends` are the workflows that are recorded, by id, each with the state that its log ends in; `None` for a
    workflow that has no log."""

    name: str
    play: Callable[[Client], Awaitable[Any]]
    ends: Mapping[str, State | None]


def file_of(workflow: str) -> str:
    """The name under which a workflow's history is kept, without its ending."""
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
    """Hold the payment, then the goods: a transaction as data."""

    def step(operation: str, undo: str, **more: Any) -> dict[str, Any]:
        ask = {"transaction_id": name, "order_id": name} | more
        queue = operation.partition(".")[0]
        return {"name": queue, "commit": operation, "rollback": undo, "queue": queue, "input": ask, "timeout_s": 5}

    money = {"customer_id": _CUSTOMER, "amount_minor": 100, "currency": "EUR"}
    steps = [
        step("payment.authorize", "payment.cancel", **money),
        step("inventory.reserve", "inventory.release", lines=[{"sku": sku, "quantity": 1}]),
    ]
    asked = Transaction.model_validate({"transaction_id": name, "steps": steps})

    async def play(client: Client) -> None:
        await Transactions(client).enter(asked, name)
        await client.get_workflow_handle(lane_id(name)).result()  # it sees the transaction out, and waits for more

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
