"""The rules of the order, shipping and notification services."""

import pytest

from activities.shipping import SERVED
from contracts import notification, order, shipping
from contracts.errors import Code
from contracts.notification import Channel, CustomerNotified
from contracts.order import Order, OrderRecorded, OrderState
from contracts.shipping import ShipmentRecorded, ShipmentState

from .conftest import OpenHarness
from .requests import TX, confirmation, creation, notice, shipment
from .service_harness import Call, ServiceHarness


async def test_an_order_is_kept_with_its_whole_document(open_harness: OpenHarness) -> None:
    harness = await open_harness("order")
    [reply] = await harness.accept(Call(order.create, creation(3)))
    assert reply == OrderRecorded(order_id="o-1", state=OrderState.PENDING, total_minor=750)
    row = await harness.row("orders")
    assert (row["order_id"], row["transaction_id"], row["state"]) == ("o-1", TX, OrderState.PENDING)
    assert (row["customer_id"], row["currency"], row["total_minor"]) == ("ada", "EUR", 750)
    assert Order.model_validate_json(row["document"]) == creation(3).order


async def test_an_order_id_belongs_to_one_transaction(open_harness: OpenHarness) -> None:
    harness = await open_harness("order")
    await harness.accept(Call(order.create, creation(3)))
    code, _ = await harness.refuse(order.create, creation(3, transaction_id="mine"))
    assert code == Code.DUPLICATE_ORDER
    assert (await harness.row("orders"))["transaction_id"] == TX


async def test_cancelling_a_refused_duplicate_leaves_the_first_order_alone(open_harness: OpenHarness) -> None:
    harness, duplicate = await open_harness("order"), creation(3, transaction_id="mine")
    await harness.accept(Call(order.create, creation(3)))
    await harness.refuse(order.create, duplicate)
    await harness.accept(Call(order.cancel, duplicate))
    assert (await harness.row("orders"))["state"] == OrderState.PENDING


async def test_a_confirmed_order_cannot_be_cancelled(open_harness: OpenHarness) -> None:
    harness = await open_harness("order")
    await harness.accept(Call(order.create, creation()), Call(order.confirm, confirmation()))
    assert (await harness.refuse(order.cancel, creation()))[0] == Code.CANCEL_REFUSED
    assert (await harness.row("orders"))["state"] == OrderState.CONFIRMED
    assert await harness.effects(TX) == ["order.create", "order.confirm"]


@pytest.fixture
async def courier(open_harness: OpenHarness) -> ServiceHarness:
    return await open_harness("shipping")


async def test_the_courier_delivers_to_every_country_it_serves(courier: ServiceHarness) -> None:
    requests = [shipment(country, f"order/{country}") for country in sorted(SERVED)]
    replies = await courier.accept(*(Call(shipping.schedule, request) for request in requests))
    codes = {reply.tracking_code for reply in replies if isinstance(reply, ShipmentRecorded)}
    assert len(codes) == len(SERVED)
    assert {row["state"] for row in await courier.rows("shipments")} == {ShipmentState.SCHEDULED}


async def test_a_country_that_is_not_served_is_refused(courier: ServiceHarness) -> None:
    code, words = await courier.refuse(shipping.schedule, shipment("JP"))
    assert (code, words) == (Code.SHIPPING_UNAVAILABLE, "the courier does not deliver to JP")
    assert await courier.rows("shipments") == []


async def test_a_scheduled_shipment_is_cancelled(courier: ServiceHarness) -> None:
    booked, called_off = await courier.accept(Call(shipping.schedule, shipment()), Call(shipping.cancel, shipment()))
    assert isinstance(booked, ShipmentRecorded)
    assert called_off == booked.model_copy(update={"state": ShipmentState.CANCELLED})
    assert (await courier.row("shipments"))["state"] == ShipmentState.CANCELLED


async def test_a_dispatched_shipment_is_recalled(courier: ServiceHarness) -> None:
    steps = (shipping.schedule, shipping.dispatch, shipping.cancel)
    await courier.accept(*(Call(step, shipment()) for step in steps))
    assert (await courier.row("shipments"))["state"] == ShipmentState.RECALLED


@pytest.fixture
async def gateway(open_harness: OpenHarness) -> ServiceHarness:
    return await open_harness("notification")


async def _messages(gateway: ServiceHarness) -> dict[tuple[str, str], str]:
    """The sent texts, by outcome of the order and channel."""
    return {(row["subject"], row["channel"]): row["text"] for row in await gateway.rows("messages")}


async def test_a_confirmation_goes_out_by_mail_and_sms(gateway: ServiceHarness) -> None:
    [reply] = await gateway.accept(Call(notification.send_confirmation, notice(1_999)))
    assert reply == CustomerNotified(channels=(Channel.EMAIL, Channel.SMS))
    text = "Your order o-1 over 19.99 EUR is confirmed."
    assert await _messages(gateway) == {("CONFIRMED", "email"): text, ("CONFIRMED", "sms"): text}
    addresses = {row["channel"]: row["address"] for row in await gateway.rows("messages")}
    assert addresses == {"email": "ada@example.org", "sms": "+4930123456"}


async def test_a_cancellation_tells_a_customer_who_was_told_nothing(gateway: ServiceHarness) -> None:
    await gateway.accept(Call(notification.send_cancellation, notice()))
    text = "Your order o-1 could not be completed. Nothing is charged; what was held is released."
    assert await _messages(gateway) == {("CANCELLED", "email"): text, ("CANCELLED", "sms"): text}


async def test_a_cancellation_follows_a_confirmation_that_went_out(gateway: ServiceHarness) -> None:
    for _ in range(2):
        await gateway.deliver(notification.send_confirmation, notice())
    for _ in range(2):
        await gateway.deliver(notification.send_cancellation, notice())
    assert len(await _messages(gateway)) == 4
    assert len(await gateway.rows("messages")) == 4


async def test_an_address_that_cannot_exist_bounces(gateway: ServiceHarness) -> None:
    code, words = await gateway.refuse(notification.send_confirmation, notice(email="ada@nowhere.invalid"))
    assert (code, words) == (Code.NOTIFICATION_FAILED, "the customer's mail server does not exist")
    assert await gateway.rows("messages") == []


async def test_a_cancellation_goes_out_by_sms_where_mail_bounces(gateway: ServiceHarness) -> None:
    await gateway.accept(Call(notification.send_cancellation, notice(email="ada@nowhere.invalid")))
    assert [row["channel"] for row in await gateway.rows("messages")] == ["sms"]


@pytest.mark.parametrize(("currency", "words"), [("EUR", "19.99 EUR"), ("JPY", "1999 JPY"), ("KWD", "1.999 KWD")])
async def test_a_message_names_the_amount_in_the_currency_s_own_decimals(
    gateway: ServiceHarness, currency: str, words: str
) -> None:
    request = notice(1_999).model_copy(update={"currency": currency})
    await gateway.accept(Call(notification.send_confirmation, request))
    assert (await _messages(gateway))["CONFIRMED", "sms"] == f"Your order o-1 over {words} is confirmed."
