"""The steps that operators skipped. A skip explains a violation by its own step and transaction, and no other."""

from collections import defaultdict
from collections.abc import Iterable, Set
from dataclasses import replace
from enum import StrEnum

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection
from temporalio.client import Client

from activities.catalogue import SERVICES
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
from recovery.skips import SkippedCall, skips_in


def _done_by_default() -> dict[str, dict[str, str]]:
    """What the undos and finishes of services that joined later do: an undo leaves nothing, a finish what a confirmed
    order has."""
    does = {}
    for service in SERVICES.values():
        if service.leaves is None or not service.leaves.joined_later:
            continue
        confirmed, cancelled = min(service.leaves.confirmed), min(service.leaves.cancelled)
        held = service.holds.get(service.leaves.kind, frozenset[StrEnum]())
        for operation in (handler.operation for handler in service.handlers):
            if operation.undoes is not None:
                does[operation.name] = dict.fromkeys(map(str, held | service.leaves.confirmed), str(cancelled))
            elif operation.acts_on is not None:
                does[operation.name] = dict.fromkeys(map(str, held), str(confirmed))
    return does


DOES: dict[str, dict[str, str]] = _done_by_default() | {
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
"""The states that a skipped operation leaves behind, with the states that it would have made of them."""


async def recorded(orders: AsyncConnection) -> list[SkippedCall]:
    """The skips that the sweep has copied to the order service."""
    return [SkippedCall(**row) for row in (await orders.execute(select(SKIPS))).mappings()]


async def not_recorded_yet(client: Client, suspects: Iterable[Violation]) -> list[SkippedCall]:
    """The skips in the workflows of the suspects, for the minutes until the sweep has copied them."""
    workflows = [workflow for suspect in suspects for workflow in _workflows_of(_transaction_of(suspect))]
    return [skip for workflow in dict.fromkeys(workflows) for skip in await _readable_skips(client, workflow)]


def set_apart(
    traces: Traces, suspects: Iterable[Violation], skips: Iterable[SkippedCall]
) -> tuple[list[Violation], list[DecidedSkip]]:
    """Divide `suspects` into violations and those that `skips` explain; the latter are returned as skips.

    A suspect is explained if its transaction is consistent once its skipped steps are counted as done.
    """
    by_transaction: dict[str, list[SkippedCall]] = defaultdict(list)
    for skip in skips:
        by_transaction[whole_of(skip.transaction_id)].append(skip)
    left = _parts_of(traces, by_transaction.keys())
    violations, decided = list[Violation](), dict[SkippedCall, DecidedSkip]()
    for suspect in suspects:
        tx = _transaction_of(suspect)
        applied = _explaining(tx, left[tx], by_transaction[tx]) if tx in left else []
        if not applied:
            violations.append(suspect)
        decided |= {skip: _decided(suspect, skip) for skip in applied}
    return violations, list(decided.values())


def _explaining(transaction_id: str, left: Traces, skips: Iterable[SkippedCall]) -> list[SkippedCall]:
    """The skips that make `left` consistent; none if it is inconsistent with all of them applied."""
    applied = []
    for skip in skips:
        done = _as_if_done(left, skip)
        if done != left:
            left = done
            applied.append(skip)
    still_wrong = any(crossing.violations(left, set())) or transaction_id in generic.holding_of(left)
    return [] if still_wrong else applied


def _as_if_done(traces: Traces, skip: SkippedCall) -> Traces:
    """`traces` as they would be after the skipped step: unchanged if it was done, or could not be done."""
    does, service = DOES.get(skip.step, {}), skip.step.partition(".")[0]
    if service == order.QUEUE:
        state = traces.orders.get(skip.transaction_id)
        if state not in does:
            return traces
        return replace(traces, orders={**traces.orders, skip.transaction_id: does[state]})
    states = traces.by_service.get(service, {}).get(skip.transaction_id)
    if not states:  # there are no rows, or a service that the audit does not read, such as notification
        return traces
    done = {skip.transaction_id: {does.get(state, state) for state in states}}
    return replace(traces, by_service={**traces.by_service, service: {**traces.by_service[service], **done}})


def _parts_of(traces: Traces, wanted: Set[str]) -> dict[str, Traces]:
    """The part of `traces` about each wanted order, or about each wanted transaction and its parts."""
    orders: dict[str, dict[str, str]] = defaultdict(dict)
    states: dict[tuple[str, str], dict[str, set[str]]] = defaultdict(dict)
    for tx, state in traces.orders.items():
        if (whole := whole_of(tx)) in wanted:
            orders[whole][tx] = state
    for service, known in traces.by_service.items():
        for tx, found in known.items():
            if (whole := whole_of(tx)) in wanted:
                states[whole, service][tx] = found
    return {
        whole: replace(
            traces,
            orders=orders[whole],
            coordinators={},
            by_service={name: states[whole, name] for name in traces.by_service},
        )
        for whole in wanted
    }


def _transaction_of(suspect: Violation) -> str:
    about = Coordinator.parse(suspect.subject)
    return about.name if about.kind is Kind.TRANSACTION else order_workflow_id(suspect.subject)


def _workflows_of(transaction: str) -> list[str]:
    about = Coordinator.parse(transaction)
    if about.kind is not Kind.ORDER:
        return [transaction_workflow_id(transaction)]
    return [transaction, *(participant_id(about.name, service) for service in PARTICIPANTS)]


async def _readable_skips(client: Client, workflow_id: str) -> list[SkippedCall]:
    """The skips in a workflow; none if it cannot be read, so that its suspect stays a violation."""
    try:
        return await skips_in(client, workflow_id)
    except Exception:  # noqa: BLE001 — codecs and converters raise any error; it must not hide the other suspects
        return []


def _decided(suspect: Violation, skip: SkippedCall) -> DecidedSkip:
    return DecidedSkip(
        subject=suspect.subject,
        step=skip.step,
        actor=skip.actor,
        reason=skip.reason,
        decided_at=skip.at,
        figures=suspect.figures,
    )
