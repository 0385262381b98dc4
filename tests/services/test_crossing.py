"""The rows that the audit expects of a confirmed order at a service that joined the order process later."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from activities.database import reading
from audit import crossing
from audit.crossing import ROLLOUT, WHOLE, Traces
from contracts import order, payment
from contracts.order import CreateOrder, OrderState
from tests.rig import an_order

from .conftest import OpenHarness
from .requests import balance, charge
from .service_harness import Call

_ORDER = "order/o-1"
_SINCE = datetime(2026, 3, 1, tzinfo=UTC)


def _broken(
    states: Mapping[str, set[str]], created: datetime, joined: Mapping[str, datetime | None] | None = None
) -> list[str]:
    """The subjects of the violations for a confirmed order with these states."""
    by_service = {service: {_ORDER: states.get(service, WHOLE[service])} for service in WHOLE}
    traces = Traces({_ORDER: OrderState.CONFIRMED}, {}, by_service, joined or {}, {_ORDER: created})
    return [violation.subject for violation in crossing.violations(traces, set())]


@pytest.mark.parametrize("since", [_SINCE, None])
def test_an_order_from_before_a_service_joined_owes_it_nothing(since: datetime | None) -> None:
    assert _broken({"shipping": set()}, _SINCE - timedelta(days=9), {"shipping": since}) == []
    assert _broken({"shipping": set()}, _SINCE + ROLLOUT / 2, {"shipping": since}) == []  # by a build without the step


def test_an_order_from_after_a_service_joined_must_be_whole() -> None:
    assert _broken({"shipping": set()}, _SINCE + 2 * ROLLOUT, {"shipping": _SINCE}) == ["o-1"]


def test_an_order_that_a_service_knows_must_be_whole_there_whenever_it_was_created() -> None:
    assert _broken({"shipping": {"SCHEDULED"}}, _SINCE - timedelta(days=9), {"shipping": _SINCE}) == ["o-1"]


def test_a_service_that_was_there_from_the_beginning_has_something_of_every_order() -> None:
    assert _broken({"payment": set()}, _SINCE, {"shipping": _SINCE}) == ["o-1"]
    assert _broken({}, _SINCE) == []


def test_an_incomplete_order_is_told_with_what_each_service_must_have_of_it_and_has() -> None:
    """Also of a service that no row was read from."""
    whole = {service: {_ORDER: states} for service, states in WHOLE.items() if service != "inventory"}
    [violation] = crossing.violations(Traces({_ORDER: OrderState.CONFIRMED}, {}, whole), set())
    for service, [state] in WHOLE.items():
        assert f"{service} {state}" in violation.message
    has = {service: state for service, [state] in WHOLE.items()}
    assert violation.figures == {**has, "inventory": None, "order": "CONFIRMED"}


async def test_an_order_in_a_state_that_this_build_does_not_know_is_told_among_the_others(
    open_harness: OpenHarness,
) -> None:
    orders, placed = await open_harness("order"), an_order()
    await orders.accept(Call(order.create, CreateOrder(transaction_id=placed.transaction_id, order=placed)))
    await orders.database.transaction(lambda tx: tx.execute(text("UPDATE orders SET state = 'SPOILT'")))
    async with reading(orders.url) as connection:
        states, _ = await crossing.read_orders(connection)
    [violation] = crossing.violations(Traces(states, {}, {}), set())
    assert (violation.subject, violation.invariant) == (placed.order_id, "all_or_nothing")
    assert violation.figures["order"] == "SPOILT"


async def test_the_audit_reads_since_when_a_service_has_had_orders_and_when_they_were_created(
    open_harness: OpenHarness,
) -> None:
    orders, payments = await open_harness("order"), await open_harness("payment")
    placed = an_order()
    await orders.accept(Call(order.create, CreateOrder(transaction_id=placed.transaction_id, order=placed)))
    await payments.accept(Call(payment.set_account, balance(100)))
    async with reading(orders.url) as orders_read:
        created = await crossing.read_created(orders_read)
    async with reading(payments.url) as payments_read:
        assert await crossing.first_order_at(payments_read, "payment") is None
    await payments.accept(Call(payment.authorize, charge(10, placed.transaction_id)))
    async with reading(payments.url) as payments_read:
        since = await crossing.first_order_at(payments_read, "payment")
    assert since is not None
    assert created.keys() == {placed.transaction_id}
    assert abs(since - created[placed.transaction_id]) < timedelta(minutes=1)
