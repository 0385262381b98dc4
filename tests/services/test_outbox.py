"""The outbox: a row for each effect, written in the effect's own local transaction."""

import json
from datetime import UTC, datetime

import pytest
from sqlalchemy import Connection

from activities.fence import RefusedDecision
from activities.service import Service
from contracts import order, payment
from contracts.order import Announce
from contracts.payment import AuthorizePayment, SetAccount
from temporal_saga import Announcement, AnnouncementKind, ParkedStep, State

from .conftest import OpenHarness
from .service_harness import ServiceHarness

_ASKED = AuthorizePayment(
    transaction_id="order/o-1", order_id="o-1", customer_id="c-1", amount_minor=100, currency="EUR"
)


@pytest.fixture
async def publishing(open_harness: OpenHarness) -> ServiceHarness:
    """The payment service with events on, and an account with 150."""
    harness = await open_harness("payment")
    harness.service = Service(harness.definition, harness.database, publishes=True)
    account = SetAccount(transaction_id="seed", customer_id="c-1", balance_minor=150)
    await harness.deliver(payment.set_account, account)
    await harness.service.remove_events([row.id for row in await harness.service.waiting_events(10)])
    return harness


async def told(harness: ServiceHarness) -> list[tuple[str, str]]:
    return [(row.transaction_id, row.operation) for row in await harness.service.waiting_events(10)]


async def test_what_takes_effect_is_in_the_outbox_once_with_its_reply(publishing: ServiceHarness) -> None:
    await publishing.deliver(payment.authorize, _ASKED)
    await publishing.deliver(payment.authorize, _ASKED)
    [row] = await publishing.service.waiting_events(10)
    assert (row.transaction_id, row.operation) == ("order/o-1", "payment.authorize")
    assert json.loads(row.reply)["amount_minor"] == 100
    assert row.at.tzinfo is not None


async def test_events_wait_in_the_order_of_their_effects(publishing: ServiceHarness) -> None:
    await publishing.deliver(payment.authorize, _ASKED)
    await publishing.deliver(payment.cancel, _ASKED)
    assert await told(publishing) == [("order/o-1", "payment.authorize"), ("order/o-1", "payment.cancel")]


async def test_a_relay_that_removes_what_another_has_removed_takes_no_later_event(publishing: ServiceHarness) -> None:
    await publishing.deliver(payment.authorize, _ASKED)
    read_by_both = [row.id for row in await publishing.service.waiting_events(10)]
    await publishing.service.remove_events(read_by_both)
    await publishing.deliver(payment.cancel, _ASKED)
    await publishing.service.remove_events(read_by_both)
    assert await told(publishing) == [("order/o-1", "payment.cancel")]


async def test_a_refusal_and_an_undo_of_nothing_are_no_events(publishing: ServiceHarness) -> None:
    assert isinstance(
        await publishing.deliver(payment.authorize, _ASKED.model_copy(update={"amount_minor": 151})), RefusedDecision
    )
    await publishing.deliver(
        payment.cancel, _ASKED.model_copy(update={"transaction_id": "order/o-2", "order_id": "o-2"})
    )
    assert await told(publishing) == []


async def test_an_effect_that_is_not_committed_is_no_event(
    publishing: ServiceHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = publishing.service._decide_and_write

    def fails_before_the_commit(tx: Connection, group: object) -> object:
        inside(tx, group)  # type: ignore[arg-type]
        raise OSError("the disk is full")

    monkeypatch.setattr(publishing.service, "_decide_and_write", fails_before_the_commit)
    with pytest.raises(OSError, match="full"):
        await publishing.deliver(payment.authorize, _ASKED)
    assert await told(publishing) == []


async def test_without_events_the_outbox_stays_empty(open_harness: OpenHarness) -> None:
    harness = await open_harness("payment")
    account = SetAccount(transaction_id="seed", customer_id="c-1", balance_minor=150)
    await harness.deliver(payment.set_account, account)
    assert await told(harness) == []


async def test_what_becomes_of_a_saga_waits_in_the_outbox_of_orders_under_its_own_id(open_harness: OpenHarness) -> None:
    harness = await open_harness("order")
    at = datetime(2026, 1, 1, 12, tzinfo=UTC)
    parked = ParkedStep("payment.cancel", "payment", "SERVICE_UNAVAILABLE")
    told_of = (
        Announcement("order/o-1", AnnouncementKind.PARKED, "run-1", State.PARKED, at, "OUT_OF_STOCK", (parked,)),
        Announcement("order/o-1", AnnouncementKind.ENDED, "run-2", State.ROLLED_BACK, at, "OUT_OF_STOCK"),
    )
    await harness.execute(order.announce, Announce(announcements=told_of))
    first, second = await harness.service.waiting_events(10)
    assert (first.operation, first.at) == ("saga.parked/run-1", at)
    assert json.loads(first.reply) == {
        "state": "PARKED",
        "error_code": "OUT_OF_STOCK",
        "parked": [{"step": "payment.cancel", "service": "payment", "error_code": "SERVICE_UNAVAILABLE"}],
    }
    assert second.operation == "saga.ended/run-2"
    assert json.loads(second.reply) == {"state": "ROLLED_BACK", "error_code": "OUT_OF_STOCK", "parked": []}
