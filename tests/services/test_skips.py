"""What operators skipped and decided: the order service records it, and the audit lists skips beside the violations."""

from datetime import UTC, datetime, timedelta

import pytest

from activities.order import SKIPS
from audit import crossing, generic, skips
from audit.crossing import Traces
from audit.report import Invariant, Report, Violation
from cli.graph import plan_of
from contracts import order
from contracts.catalogue import OPERATIONS
from contracts.inventory import ReservationState
from contracts.order import (
    DecisionsOnRecord,
    OrderState,
    ReadDecisions,
    RecordDecisions,
    RecordSkips,
    SkippedStep,
    TakenDecision,
)
from contracts.payment import PaymentState
from contracts.shipping import ShipmentState
from recovery.skips import SkippedCall

from .conftest import OpenHarness
from .requests import creation

AT = datetime(2026, 11, 25, 12, tzinfo=UTC)
WHOLE = {
    "payment": PaymentState.CAPTURED,
    "inventory": ReservationState.COMMITTED,
    "shipping": ShipmentState.DISPATCHED,
}
HELD = {"payment": PaymentState.AUTHORIZED, "inventory": ReservationState.HELD, "shipping": ShipmentState.SCHEDULED}
FINISHES = {"payment": "payment.capture", "inventory": "inventory.commit", "shipping": "shipping.dispatch"}
UNDOS = {"payment": "payment.cancel", "inventory": "inventory.release", "shipping": "shipping.cancel"}
SERVICES = tuple(WHOLE)


def traces(state: OrderState, tx: str = "order/o-1", **states: str) -> Traces:
    """What an order has left in `states`; at services that joined later, and are not named, what it should have."""
    by_service: dict[str, dict[str, set[str]]] = {service: {tx: {found}} for service, found in states.items()}
    if state is OrderState.CONFIRMED:
        by_service |= {service: {tx: crossing.WHOLE[service]} for service in crossing.JOINED}
    return Traces({tx: state}, {}, by_service)


def skip(step: str, transaction_id: str = "order/o-1") -> SkippedCall:
    return SkippedCall(transaction_id, step, "ann", "by hand", AT)


def audited(left: Traces, *decided: SkippedCall) -> Report:
    found = list(crossing.violations(left, set()))
    return Report.of(1, *skips.set_apart(left, found, decided))


@pytest.mark.parametrize("service", SERVICES)
def test_a_skipped_finish_explains_what_its_service_still_holds(service: str) -> None:
    left = traces(OrderState.CONFIRMED, **WHOLE | {service: HELD[service]})
    assert not audited(left).clean
    report = audited(left, skip(FINISHES[service]))
    assert report.clean
    [known] = report.skips
    assert (known.subject, known.step, known.actor, known.reason, known.decided_at) == (
        "o-1",
        FINISHES[service],
        "ann",
        "by hand",
        AT,
    )
    assert known.figures[service] == HELD[service]


@pytest.mark.parametrize("service", SERVICES)
def test_a_skipped_undo_explains_what_its_service_still_holds(service: str) -> None:
    left = traces(OrderState.CANCELLED, **{service: HELD[service]})
    assert [known.step for known in audited(left, skip(UNDOS[service])).skips] == [UNDOS[service]]
    assert audited(left, skip(UNDOS[service])).clean


@pytest.mark.parametrize("service", SERVICES)
def test_a_skip_explains_nothing_but_its_own_step(service: str) -> None:
    """A skip explains no other service, no other state, and not the same step of another order."""
    both = traces(OrderState.CANCELLED, **HELD)
    report = audited(both, skip(UNDOS[service]))
    assert (report.clean, report.skips, report.checks[Invariant.ALL_OR_NOTHING]) == (False, [], 1)
    turned = traces(OrderState.CONFIRMED, **WHOLE | {service: HELD[service]})
    assert not audited(turned, skip(UNDOS[service])).clean
    missing = traces(OrderState.CONFIRMED, **{other: WHOLE[other] for other in SERVICES if other != service})
    assert not audited(missing, skip(FINISHES[service])).clean
    assert not audited(turned, skip(FINISHES[service], "order/o-2")).clean


def test_a_skip_that_no_longer_shows_is_not_listed() -> None:
    message = skip("notification.send_cancellation")
    report = audited(traces(OrderState.CANCELLED), skip("payment.cancel"), message)
    assert (report.clean, report.skips) == (True, [])
    assert audited(traces(OrderState.CANCELLED, payment=HELD["payment"]), message).skips == []


def test_a_skipped_cancellation_of_an_order_explains_that_it_has_no_end() -> None:
    assert audited(traces(OrderState.PENDING), skip("order.cancel")).clean


def test_a_skip_does_not_explain_an_order_that_the_order_service_has_forgotten() -> None:
    forgotten = Traces({}, {}, {service: {} for service in SERVICES})
    found = list(crossing.forgotten(forgotten, set(), {"order/o-1"}))
    assert skips.set_apart(forgotten, found, [skip("payment.capture")])[0] == found


def test_a_skip_explains_one_part_of_a_transaction_and_not_its_other_parts() -> None:
    authorized = PaymentState.AUTHORIZED
    left = Traces({}, {}, {"payment": {"t-1/one": {authorized}, "t-1/two": {authorized}}})
    assert generic.holding_of(left).keys() == {"t-1"}
    found = [Violation(invariant=Invariant.ALL_OR_NOTHING, subject="transaction/t-1", message="holds", figures={})]
    one, two = skip("payment.cancel", "t-1/one"), skip("payment.cancel", "t-1/two")
    assert skips.set_apart(left, found, [one])[0] == found
    assert skips.set_apart(left, found, [one, two])[0] == []


def test_the_audit_knows_what_every_undo_and_finish_would_have_done() -> None:
    plan = plan_of(creation().order)
    finishes = {call.operation.name for call in plan.stages[-1].calls}
    undos = {operation.name for operation in OPERATIONS.values() if operation.undoes is not None}
    with_traces = {name for name in finishes | undos if name.partition(".")[0] in crossing.SERVICES_WITH_TRACES}
    assert with_traces == skips.DOES.keys() >= set(UNDOS.values()) | set(FINISHES.values())


async def test_the_first_record_of_a_skip_is_kept(open_harness: OpenHarness) -> None:
    harness = await open_harness("order")
    first = SkippedStep(step="payment.cancel", actor="ann", reason="paid back", at=AT)
    other = first.model_copy(update={"step": "inventory.release"})
    await harness.execute(order.record_skips, RecordSkips(transaction_id="order/o-1", skips=(first,)))
    again = (first.model_copy(update={"reason": "changed"}), other)
    await harness.execute(order.record_skips, RecordSkips(transaction_id="order/o-1", skips=again))
    await harness.execute(order.record_skips, RecordSkips(transaction_id="order/o-2", skips=(first,)))
    rows = await harness.database.transaction(lambda tx: [tuple(row) for row in tx.execute(SKIPS.select())])
    assert sorted(rows) == [
        ("order/o-1", "inventory.release", "ann", "paid back", AT),
        ("order/o-1", "payment.cancel", "ann", "paid back", AT),
        ("order/o-2", "payment.cancel", "ann", "paid back", AT),
    ]


async def test_the_first_record_of_a_decision_is_kept_and_the_newest_are_read_first(open_harness: OpenHarness) -> None:
    harness = await open_harness("order")
    retry = TakenDecision(
        workflow_id="order/o-1",
        update_id="u-1",
        transaction_id="order/o-1",
        step="payment.cancel",
        decision="retry",
        at=AT,
    )
    skipped = retry.model_copy(
        update={"update_id": "u-2", "decision": "skip", "actor": "ann", "at": AT + timedelta(days=1)}
    )
    other = retry.model_copy(update={"workflow_id": "choreography/o-2/payment", "at": AT + timedelta(days=2)})
    for several in ((retry,), (retry.model_copy(update={"reason": "changed"}), skipped, other)):
        await harness.execute(order.record_decisions, RecordDecisions(decisions=several))

    async def read(*workflow_ids: str, limit: int = 10) -> tuple[TakenDecision, ...]:
        question = ReadDecisions(workflow_ids=workflow_ids, limit=limit)
        answer = await harness.execute(order.read_decisions, question)
        assert isinstance(answer, DecisionsOnRecord)
        return answer.decisions

    assert await read() == (other, skipped, retry)
    assert await read(limit=1) == (other,)
    assert await read("order/o-1", "transaction/o-1") == (skipped, retry)
