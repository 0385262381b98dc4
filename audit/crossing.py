"""What must hold between the databases and Temporal: an order is everywhere or nowhere, and none is left behind."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from activities.inventory import Reservation
from activities.order import PlacedOrder
from activities.payment import Payment
from activities.shipping import Shipment
from audit.report import Check, Violation
from contracts.inventory import ReservationState
from contracts.order import OrderState
from contracts.payment import PaymentState
from contracts.shipping import ShipmentState

_WHOLE: dict[str, set[str]] = {
    "payment": {PaymentState.CAPTURED},
    "inventory": {ReservationState.COMMITTED},
    "shipping": {ShipmentState.DISPATCHED},
}
"""What a confirmed order has at each service."""
NOTHING: dict[str, set[str]] = {
    "payment": {PaymentState.CANCELLED, PaymentState.REFUNDED},
    "inventory": {ReservationState.RELEASED, ReservationState.RETURNED},
    "shipping": {ShipmentState.CANCELLED, ShipmentState.RECALLED},
}
"""What a cancelled order may have left at each service; most have left no trace."""


@dataclass(frozen=True)
class Traces:
    """The states of all transactions, by service: a state for each row that a transaction has there.

    `carriers` names the workflow that decides about an order, for those where it is not the order's own.
    """

    orders: Mapping[str, OrderState]
    carriers: Mapping[str, str]
    by_service: Mapping[str, Mapping[str, set[str]]]

    def of(self, transaction_id: str) -> dict[str, set[str]]:
        return {service: states.get(transaction_id, set()) for service, states in self.by_service.items()}


_TABLES = {"payment": Payment.table, "inventory": Reservation.table, "shipping": Shipment.table}
SERVICES_WITH_TRACES = ("order", *_TABLES)


async def read_orders(connection: AsyncConnection) -> tuple[dict[str, OrderState], dict[str, str]]:
    """The state of every order, and the carriers of those that have one."""
    columns = PlacedOrder.table.c
    found = (await connection.execute(select(columns.transaction_id, columns.state, columns.carrier))).all()
    carriers = {row.transaction_id: row.carrier for row in found if row.carrier is not None}
    return {row.transaction_id: row.state for row in found}, carriers


async def read_states(connection: AsyncConnection, service: str) -> dict[str, set[str]]:
    columns = _TABLES[service].c
    states: dict[str, set[str]] = defaultdict(set)
    for transaction_id, state in await connection.execute(select(columns.transaction_id, columns.state).distinct()):
        states[transaction_id].add(state)
    return states


def violations(traces: Traces, running: set[str]) -> Iterator[Violation]:
    """`running` are workflow ids. Orders under way are left out: they are on their way to one of the two ends."""
    open_transactions = running | {tx for tx, carrier in traces.carriers.items() if carrier in running}
    for transaction_id, state in traces.orders.items():
        if transaction_id in open_transactions or not transaction_id.startswith("order/"):
            continue
        left = traces.of(transaction_id)
        if state is OrderState.PENDING:
            message = "the order has no end, and no workflow is bringing it there: `starter.py sweep` does"
            yield _violation(Check.ORPHANS, transaction_id, message, left | {"order": {state}})
        elif state is OrderState.CONFIRMED and left != _WHOLE:
            message = "a confirmed order must be captured, committed and dispatched"
            yield _violation(Check.ALL_OR_NOTHING, transaction_id, message, left | {"order": {state}})
        elif state is OrderState.CANCELLED and any(left[service] - NOTHING[service] for service in left):
            message = "a cancelled order must hold nothing"
            yield _violation(Check.ALL_OR_NOTHING, transaction_id, message, left | {"order": {state}})
    yield from _without_order(traces, open_transactions)


def forgotten(traces: Traces, running: set[str], confirmed: set[str]) -> Iterator[Violation]:
    """Orders that ended confirmed and that no order service knows: its database is of an earlier time."""
    for transaction_id in sorted(confirmed - traces.orders.keys() - running):
        message = "its workflow ended confirmed, and the order service does not know it: `starter.py redo` places it"
        yield _violation(Check.ALL_OR_NOTHING, transaction_id, message, traces.of(transaction_id))


def _without_order(traces: Traces, open_transactions: set[str]) -> Iterator[Violation]:
    known = traces.orders.keys() | open_transactions
    placed = {tx for states in traces.by_service.values() for tx in states if tx.startswith("order/")}
    for transaction_id in sorted(placed - known):
        left = traces.of(transaction_id)
        if any(left[service] - NOTHING[service] for service in left):
            message = "something is held for an order that the order service does not know"
            yield _violation(Check.ORPHANS, transaction_id, message, left)


def _violation(check: Check, transaction_id: str, message: str, left: Mapping[str, set[Any]]) -> Violation:
    figures: dict[str, int | str | None] = {
        service: ", ".join(sorted(map(str, states))) or None for service, states in left.items()
    }
    subject = transaction_id.removeprefix("order/")
    return Violation(invariant=check, subject=subject, message=message, figures=figures)
