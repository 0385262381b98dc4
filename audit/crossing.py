"""What must hold between the databases and Temporal: an order is everywhere or nowhere, and none is left behind."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from activities.catalogue import SERVICES
from activities.inventory import Reservation
from activities.order import PlacedOrder, metadata
from activities.payment import Payment
from activities.shipping import Shipment
from audit.report import Check, Violation
from contracts import order
from contracts.ids import is_orders, order_id_of, order_workflow_id
from contracts.inventory import ReservationState
from contracts.order import OrderState
from contracts.payment import PaymentState
from contracts.shipping import ShipmentState

WHOLE: dict[str, set[str]] = {
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
JOINED: frozenset[str] = frozenset()
"""The services that joined the order process after others had been at work: an order that was created before such a
service had its first owes it nothing. Whoever adds a step adds its service here; of the first three every order is held
to have something, so that the loss of a whole database is seen."""
ROLLOUT = timedelta(days=1)
"""How long builds without a new step may still create orders beside those with it."""


@dataclass(frozen=True)
class Traces:
    """The states of all transactions, by service: a state for each row that a transaction has there.

    `coordinators` names the workflow that decides about an order, for those where it is not the order's own. `joined`
    tells since when each of `JOINED` has had orders, if it has had any, and `created` when the orders were.
    """

    orders: Mapping[str, OrderState]
    coordinators: Mapping[str, str]
    by_service: Mapping[str, Mapping[str, set[str]]]
    joined: Mapping[str, datetime | None] = field(default_factory=dict)
    created: Mapping[str, datetime] = field(default_factory=dict)

    def of(self, transaction_id: str) -> dict[str, set[str]]:
        return {service: states.get(transaction_id, set()) for service, states in self.by_service.items()}

    def is_whole(self, transaction_id: str) -> bool:
        """Whether each service has of a confirmed order what it must; one that the order came before, nothing."""
        left = self.of(transaction_id)
        return all(
            left.get(service) == whole or (not left.get(service) and self._came_before(transaction_id, service))
            for service, whole in WHOLE.items()
        )

    def _came_before(self, transaction_id: str, service: str) -> bool:
        if service not in self.joined:
            return False
        since, created = self.joined[service], self.created.get(transaction_id)
        return since is None or (created is not None and created < since + ROLLOUT)


_TABLES = {"payment": Payment.table, "inventory": Reservation.table, "shipping": Shipment.table}
SERVICES_WITH_TRACES = ("order", *_TABLES)


async def read_orders(connection: AsyncConnection) -> tuple[dict[str, OrderState], dict[str, str]]:
    """The state of every order, and the coordinators of those that have one."""
    columns = PlacedOrder.table.c
    found = (await connection.execute(select(columns.transaction_id, columns.state, columns.coordinator))).all()
    coordinators = {row.transaction_id: row.coordinator for row in found if row.coordinator is not None}
    return {row.transaction_id: row.state for row in found}, coordinators


async def read_states(connection: AsyncConnection, service: str) -> dict[str, set[str]]:
    columns = _TABLES[service].c
    states: dict[str, set[str]] = defaultdict(set)
    for transaction_id, state in await connection.execute(select(columns.transaction_id, columns.state).distinct()):
        states[transaction_id].add(state)
    return states


async def read_created(connection: AsyncConnection) -> dict[str, datetime]:
    """When each order was created."""
    effects = metadata.tables["effects"].c
    created = select(effects.transaction_id, effects.at).where(effects.operation == order.create.name)
    return {row.transaction_id: row.at for row in await connection.execute(created)}


async def first_order_at(connection: AsyncConnection, service: str) -> datetime | None:
    """When a service did something for an order for the first time; `None` if it never has."""
    effects = SERVICES[service].metadata.tables["effects"].c
    ours = effects.transaction_id.startswith(order_workflow_id(""))
    first: datetime | None = await connection.scalar(select(func.min(effects.at)).where(ours))
    return first


def violations(traces: Traces, running: set[str]) -> Iterator[Violation]:
    """`running` are workflow ids. Orders under way are left out: they are on their way to one of the two ends."""
    open_transactions = running | {tx for tx, coordinator in traces.coordinators.items() if coordinator in running}
    for transaction_id, state in traces.orders.items():
        if transaction_id in open_transactions or not is_orders(transaction_id):
            continue
        left = traces.of(transaction_id)
        if state is OrderState.PENDING:
            message = "the order has no end, and no workflow is bringing it there: `starter.py sweep` does"
            yield _violation(Check.ORPHANS, transaction_id, message, left | {"order": {state}})
        elif state is OrderState.CONFIRMED and not traces.is_whole(transaction_id):
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
    placed = {tx for states in traces.by_service.values() for tx in states if is_orders(tx)}
    for transaction_id in sorted(placed - known):
        left = traces.of(transaction_id)
        if any(left[service] - NOTHING[service] for service in left):
            message = "something is held for an order that the order service does not know"
            yield _violation(Check.ORPHANS, transaction_id, message, left)


def _violation(check: Check, transaction_id: str, message: str, left: Mapping[str, set[Any]]) -> Violation:
    figures: dict[str, int | str | None] = {
        service: ", ".join(sorted(map(str, states))) or None for service, states in left.items()
    }
    subject = order_id_of(transaction_id)
    return Violation(invariant=check, subject=subject, message=message, figures=figures)
