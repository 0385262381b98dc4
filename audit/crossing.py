"""The invariants between the databases and Temporal: an order is complete at every service or undone at every service,
and no order is left without an outcome."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, String, func, select, type_coerce
from sqlalchemy.ext.asyncio import AsyncConnection

from activities.catalogue import SERVICES
from activities.definition import Leaves
from activities.fence import RETIRED
from activities.order import Fence, PlacedOrder, metadata
from audit.report import Invariant, Violation
from contracts import order
from contracts.ids import is_orders, order_id_of, order_workflow_id
from contracts.order import OrderState

_LEAVES: dict[str, Leaves] = {name: service.leaves for name, service in SERVICES.items() if service.leaves is not None}
WHOLE: dict[str, set[str]] = {service: set(leaves.confirmed) for service, leaves in _LEAVES.items()}
"""The states of a confirmed order at each service."""
NOTHING: dict[str, set[str]] = {service: set(leaves.cancelled) for service, leaves in _LEAVES.items()}
"""The states that a cancelled order may have at each service; most have none."""
JOINED = frozenset(service for service, leaves in _LEAVES.items() if leaves.joined_later)
"""The services that were added to the order process later: an order that is older than the first order of such a
service need not be known there. The others must know every order, so that the audit notices the loss of a whole
database."""
ROLLOUT = timedelta(days=1)
"""Time in which builds without a new step may still create orders beside builds with it."""


@dataclass(frozen=True)
class Traces:
    """The rows that transactions have left at the services; the keys are transaction ids."""

    orders: Mapping[str, str]
    coordinators: Mapping[str, str]
    """The workflow that decides about an order, for the orders where it is not the order's own."""
    by_service: Mapping[str, Mapping[str, set[str]]]
    """The states of the rows of each transaction, by service."""
    joined: Mapping[str, datetime | None] = field(default_factory=dict)
    """The time of the first order of each of `JOINED`, or `None` before it."""
    created: Mapping[str, datetime] = field(default_factory=dict)
    """The time when each order was created."""

    def of(self, transaction_id: str) -> dict[str, set[str]]:
        return {service: self.by_service.get(service, {}).get(transaction_id, set()) for service in WHOLE}

    def is_whole(self, transaction_id: str) -> bool:
        """Whether a confirmed order is complete at every service, but for those that joined after it."""
        left = self.of(transaction_id)
        return all(
            left.get(service) == whole or (not left.get(service) and self._is_older_than(transaction_id, service))
            for service, whole in WHOLE.items()
        )

    def _is_older_than(self, transaction_id: str, service: str) -> bool:
        if service not in self.joined:
            return False
        since, created = self.joined[service], self.created.get(transaction_id)
        return since is None or (created is not None and created < since + ROLLOUT)


SERVICES_WITH_TRACES = ("order", *_LEAVES)


async def read_orders(connection: AsyncConnection) -> tuple[dict[str, str], dict[str, str]]:
    """The state of every order, and the coordinators of those that have one."""
    columns = PlacedOrder.table.c
    query = select(columns.transaction_id, _as_written(columns.state), columns.coordinator)
    found = (await connection.execute(query)).all()
    coordinators = {row.transaction_id: row.coordinator for row in found if row.coordinator is not None}
    return {row.transaction_id: row.state for row in found}, coordinators


def _as_written(state: ColumnElement[Any]) -> ColumnElement[str]:
    """The text of a state, also of one that no build has written: the audit has to say so, and to read the others."""
    return type_coerce(state, String).label("state")


async def read_retiring(connection: AsyncConnection) -> set[str]:
    """The orders that are being retired: refused by the fence, and removed from some of the other services."""
    fence, orders = Fence.table.c, PlacedOrder.table.c
    found = select(orders.transaction_id).where(fence.transaction_id == orders.transaction_id, fence.step == RETIRED)
    return set(await connection.scalars(found))


async def read_states(connection: AsyncConnection, service: str) -> dict[str, set[str]]:
    columns = _LEAVES[service].kind.table.c
    query = select(columns.transaction_id, _as_written(columns.state)).distinct()
    states: dict[str, set[str]] = defaultdict(set)
    for transaction_id, state in await connection.execute(query):
        states[transaction_id].add(state)
    return states


async def read_created(connection: AsyncConnection) -> dict[str, datetime]:
    """The time when each order was created."""
    effects = metadata.tables["effects"].c
    created = select(effects.transaction_id, effects.at).where(effects.operation == order.create.name)
    return {row.transaction_id: row.at for row in await connection.execute(created)}


async def first_order_at(connection: AsyncConnection, service: str) -> datetime | None:
    """The time of a service's first effect for an order; `None` if there was none."""
    effects = SERVICES[service].metadata.tables["effects"].c
    is_order = effects.transaction_id.startswith(order_workflow_id(""))
    first: datetime | None = await connection.scalar(select(func.min(effects.at)).where(is_order))
    return first


def violations(traces: Traces, running: set[str]) -> Iterator[Violation]:
    """The orders that break the invariants. Orders of the workflows in `running` are left out: they are under way."""
    open_transactions = running | {tx for tx, coordinator in traces.coordinators.items() if coordinator in running}
    for transaction_id, state in traces.orders.items():
        if transaction_id in open_transactions or not is_orders(transaction_id):
            continue
        left = traces.of(transaction_id)
        if state == OrderState.PENDING:
            message = "the order has no end, and no workflow is bringing it there: `starter.py sweep` does"
            yield _violation(Invariant.ORPHANS, transaction_id, message, left | {"order": {state}})
        elif state == OrderState.CONFIRMED and not traces.is_whole(transaction_id):
            message = f"a confirmed order must be {_told(WHOLE)}"
            yield _violation(Invariant.ALL_OR_NOTHING, transaction_id, message, left | {"order": {state}})
        elif state == OrderState.CANCELLED and any(left[service] - NOTHING[service] for service in left):
            message = "a cancelled order must hold nothing"
            yield _violation(Invariant.ALL_OR_NOTHING, transaction_id, message, left | {"order": {state}})
        elif state not in set(OrderState):
            message = f"an order must be {', '.join(OrderState)}: no other state is known to this build"
            yield _violation(Invariant.ALL_OR_NOTHING, transaction_id, message, left | {"order": {state}})
    yield from _without_order(traces, open_transactions)


def forgotten(traces: Traces, running: set[str], confirmed: set[str]) -> Iterator[Violation]:
    """Orders that were confirmed and that the order service does not know: its database is an older backup."""
    for transaction_id in sorted(confirmed - traces.orders.keys() - running):
        message = "its workflow ended confirmed, and the order service does not know it: `starter.py redo` places it"
        yield _violation(Invariant.ALL_OR_NOTHING, transaction_id, message, traces.of(transaction_id))


def _without_order(traces: Traces, open_transactions: set[str]) -> Iterator[Violation]:
    known = traces.orders.keys() | open_transactions
    placed = {tx for states in traces.by_service.values() for tx in states if is_orders(tx)}
    for transaction_id in sorted(placed - known):
        left = traces.of(transaction_id)
        if any(left[service] - NOTHING[service] for service in left):
            message = "something is held for an order that the order service does not know"
            yield _violation(Invariant.ORPHANS, transaction_id, message, left)


def _told(states: Mapping[str, set[str]]) -> str:
    return ", ".join(f"{service} {state}" for service, known in states.items() for state in sorted(known))


def _violation(invariant: Invariant, transaction_id: str, message: str, left: Mapping[str, set[Any]]) -> Violation:
    figures: dict[str, int | str | None] = {
        service: ", ".join(sorted(map(str, states))) or None for service, states in left.items()
    }
    subject = order_id_of(transaction_id)
    return Violation(invariant=invariant, subject=subject, message=message, figures=figures)
