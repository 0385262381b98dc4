"""What operators have left undone, and what that explains: one skipped step, of one transaction, and nothing else."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Set
from dataclasses import replace

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection
from temporalio.client import Client

from activities.order import SKIPS
from audit import crossing, generic
from audit.crossing import Traces
from audit.report import DecidedSkip, Violation
from contracts import inventory, order, payment, shipping
from contracts.choreography import PARTICIPANTS
from contracts.ids import Coordinator, Kind, order_workflow_id, participant_id, transaction_workflow_id, whole_of
from contracts.inventory import ReservationState
from contracts.order import OrderState
from contracts.payment import PaymentState
from contracts.shipping import ShipmentState
from recovery.skips import Skip, skips_in

DOES: dict[str, dict[str, str]] = {
    order.cancel.name: {OrderState.PENDING: OrderState.CANCELLED},
    payment.cancel.name: {PaymentState.AUTHORIZED: PaymentState.CANCELLED},
    payment.capture.name: {PaymentState.AUTHORIZED: PaymentState.CAPTURED},
    payment.refund.name: {PaymentState.CAPTURED: PaymentState.REFUNDED},
    inventory.release.name: {
        ReservationState.HELD: ReservationState.RELEASED,
        ReservationState.COMMITTED: ReservationState.RETURNED,
    },
    inventory.commit.name: {ReservationState.HELD: ReservationState.COMMITTED},
    shipping.cancel.name: {
        ShipmentState.SCHEDULED: ShipmentState.CANCELLED,
        ShipmentState.DISPATCHED: ShipmentState.RECALLED,
    },
    shipping.dispatch.name: {ShipmentState.SCHEDULED: ShipmentState.DISPATCHED},
}
"""The states that an operator's skip leaves behind, and what the skipped call would have made of them."""


async def recorded(orders: AsyncConnection) -> list[Skip]:
    """The skips that a sweep has copied to the order service."""
    return [Skip(**row) for row in (await orders.execute(select(SKIPS))).mappings()]


async def not_recorded_yet(client: Client, suspects: Iterable[Violation]) -> list[Skip]:
    """The skips in the workflows of these transactions, for the minutes until a sweep has copied them."""
    workflows = [workflow for suspect in suspects for workflow in _workflows_of(_transaction_of(suspect))]
    return [skip for workflow in dict.fromkeys(workflows) for skip in await _readable_skips(client, workflow)]


def set_apart(
    traces: Traces, suspects: Iterable[Violation], skips: Iterable[Skip]
) -> tuple[list[Violation], list[DecidedSkip]]:
    """Those of `suspects` that `skips` do not explain, and the skips that explain the others.

    A suspect is explained if nothing is wrong with its transaction once its skipped steps are taken for done.
    """
    by_transaction: dict[str, list[Skip]] = defaultdict(list)
    for skip in skips:
        by_transaction[whole_of(skip.transaction_id)].append(skip)
    left = _parts_of(traces, by_transaction.keys())
    violations, decided = list[Violation](), dict[Skip, DecidedSkip]()
    for suspect in suspects:
        ours = _transaction_of(suspect)
        applied = _explaining(ours, left[ours], by_transaction[ours]) if ours in left else []
        if not applied:
            violations.append(suspect)
        decided |= {skip: _told(suspect, skip) for skip in applied}
    return violations, list(decided.values())


def _explaining(ours: str, left: Traces, skips: Iterable[Skip]) -> list[Skip]:
    """The skips without which something would be wrong with `left`; none if it is wrong with them too."""
    applied = []
    for skip in skips:
        done = _as_if_done(left, skip)
        if done != left:
            left = done
            applied.append(skip)
    still_wrong = any(crossing.violations(left, set())) or ours in generic.holding_of(left)
    return [] if still_wrong else applied


def _as_if_done(traces: Traces, skip: Skip) -> Traces:
    """`traces` as they would be, had the skipped step been done: nothing changes where it has been, or never could."""
    does, service = DOES.get(skip.step, {}), skip.step.partition(".")[0]
    if service == order.QUEUE:
        state = traces.orders.get(skip.transaction_id)
        if state not in does:
            return traces
        return replace(traces, orders={**traces.orders, skip.transaction_id: OrderState(does[state])})
    states = traces.by_service.get(service, {}).get(skip.transaction_id)
    if not states:  # nothing is there, or nobody looks: a letter leaves no trace
        return traces
    done = {skip.transaction_id: {does.get(state, state) for state in states}}
    return replace(traces, by_service={**traces.by_service, service: {**traces.by_service[service], **done}})


def _parts_of(traces: Traces, wanted: Set[str]) -> dict[str, Traces]:
    """What `traces` know of each wanted order, or of each wanted transaction and its parts."""
    orders: dict[str, dict[str, OrderState]] = defaultdict(dict)
    states: dict[tuple[str, str], dict[str, set[str]]] = defaultdict(dict)
    for tx, state in traces.orders.items():
        if (ours := whole_of(tx)) in wanted:
            orders[ours][tx] = state
    for service, known in traces.by_service.items():
        for tx, found in known.items():
            if (ours := whole_of(tx)) in wanted:
                states[ours, service][tx] = found
    return {
        ours: replace(
            traces,
            orders=orders[ours],
            coordinators={},
            by_service={name: states[ours, name] for name in traces.by_service},
        )
        for ours in wanted
    }


def _transaction_of(suspect: Violation) -> str:
    about = Coordinator.parse(suspect.subject)
    return about.name if about.kind is Kind.TRANSACTION else order_workflow_id(suspect.subject)


def _workflows_of(ours: str) -> list[str]:
    about = Coordinator.parse(ours)
    if about.kind is not Kind.ORDER:
        return [transaction_workflow_id(ours)]
    return [ours, *(participant_id(about.name, service) for service in PARTICIPANTS)]


async def _readable_skips(client: Client, workflow_id: str) -> list[Skip]:
    """A workflow that cannot be read explains nothing: what is wrong with its transaction stays a violation."""
    try:
        return await skips_in(client, workflow_id)
    except Exception:  # noqa: BLE001 — codecs and converters raise what they like; the other suspects must not pay
        return []


def _told(suspect: Violation, skip: Skip) -> DecidedSkip:
    return DecidedSkip(
        subject=suspect.subject,
        step=skip.step,
        actor=skip.actor,
        reason=skip.reason,
        decided_at=skip.at,
        figures=suspect.figures,
    )
