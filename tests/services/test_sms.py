"""SMS by a webhook: the receiver can verify who sent it and drop repeats, and its answer decides."""

import logging
import threading
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from activities import sms
from activities.gateways import Delivery
from activities.notification import DeliveryRecord, DeliveryState
from activities.sms import WebhookGateway
from contracts.gateways import SmsWebhook
from contracts.notification import Channel
from contracts.order import OrderState
from runtime import logs
from runtime.settings import LogFormat

from .receivers import SmsReceiver
from .requests import TX, notice

_NOW = datetime.now(UTC)


async def _deliver(webhook: SmsWebhook) -> tuple[DeliveryState, str | None]:
    row = DeliveryRecord(TX, OrderState.CONFIRMED, Channel.SMS, "+4930123456", DeliveryState.SENDING, "", _NOW)
    gateway, delivery = WebhookGateway(webhook), Delivery(row, notice())
    await gateway.deliver([delivery])
    await gateway.close()
    return delivery.state, delivery.problem


@pytest.fixture
def phone() -> Iterator[SmsReceiver]:
    with SmsReceiver().listening() as receiver:
        yield receiver


async def test_the_receiver_verifies_the_signature(phone: SmsReceiver) -> None:
    assert await _deliver(phone.webhook) == (DeliveryState.SENT, None)
    stranger = SmsWebhook(phone.url, b"another secret, which is not it")
    state, words = await _deliver(stranger)
    assert (state, words) == (DeliveryState.NOT_SENT, "the SMS webhook answered 401 Unauthorized")
    assert len(phone.unsigned) == len(phone.sent) == 1


@pytest.mark.parametrize("status", [400, 410, 422])
async def test_a_message_that_the_webhook_refuses_is_refused_for_good(phone: SmsReceiver, status: int) -> None:
    phone.answers.append(status)
    state, words = await _deliver(phone.webhook)
    assert state is DeliveryState.REFUSED
    assert f"the SMS webhook answered {status} " in str(words)


@pytest.mark.parametrize("status", [302, 401, 403, 404, 408, 409, 429, 500, 503])
async def test_an_answer_about_the_webhook_itself_is_no_refusal_of_the_customer(
    phone: SmsReceiver, status: int
) -> None:
    phone.answers.append(status)
    state, _ = await _deliver(phone.webhook)
    assert (state, len(phone.keys)) == (DeliveryState.NOT_SENT, 1)


async def test_a_webhook_that_is_not_there_or_does_not_answer_is_tried_again(
    phone: SmsReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, words = await _deliver(SmsWebhook("http://127.0.0.1:1/sms?token=hidden", b"x" * 32))
    assert state is DeliveryState.NOT_SENT
    assert str(words).startswith("the SMS webhook did not answer: ConnectError")
    assert "hidden" not in str(words)
    monkeypatch.setattr(sms, "ANSWER_S", 0.2)
    answered = threading.Event()
    phone.answers.append(lambda: 200 if answered.wait(5) else 500)
    state, words = await _deliver(phone.webhook)
    answered.set()
    assert (state, words) == (DeliveryState.NOT_SENT, "the SMS webhook did not answer: ReadTimeout")


async def test_no_log_line_shows_the_address_of_the_webhook(
    phone: SmsReceiver, capfd: pytest.CaptureFixture[str]
) -> None:
    before = logging.getLogger().handlers, logging.getLogger().level
    logs.configure(LogFormat.JSON)
    try:
        await _deliver(phone.webhook)
    finally:
        logging.basicConfig(handlers=before[0], level=before[1], force=True)
    assert "hidden" not in capfd.readouterr().err
