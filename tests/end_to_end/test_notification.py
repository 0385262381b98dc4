"""Customers of a running system get mail and SMS, which tell them how and why, in every mode."""

import asyncio

import pytest

from runtime.embedded import free_port
from tests.services.receivers import MailReceiver, SmsReceiver

from .conftest import Make
from .exported import exported
from .system import System

pytestmark = pytest.mark.long

_TOLD = "Your order {} could not be completed: an article is not sold any more."
_UNKNOWN = {"lines": [{"sku": "UNICORN-1", "quantity": 1, "unit_price_minor": 100}]}


@pytest.mark.processes
async def test_a_customer_is_told_by_mail_and_sms_how_the_order_ended_and_why(
    fresh_system: System, order: Make
) -> None:
    with SmsReceiver().listening() as phone:
        async with MailReceiver().listening() as post:
            fresh_system.worker_environment = {
                "METRICS_PORT": str(free_port()),
                "SMTP_URL": post.url(),
                "SMS_WEBHOOK_URL": phone.url,
                "SMS_WEBHOOK_SECRET": phone.encoded_secret,
            }
            await asyncio.to_thread(fresh_system.start)
            placed = order("confirmed")
            answer = await asyncio.to_thread(fresh_system.place, placed)
            assert answer.document["state"] == "CONFIRMED", answer.err
            expected = {f"Your order {placed['order_id']} is confirmed"}
            for mode in ("saga", "colocated", "choreography"):
                refused = order(mode, **_UNKNOWN)
                answer = await asyncio.to_thread(fresh_system.place, refused, "--mode", mode)
                assert answer.document["error"]["code"] == "UNKNOWN_SKU", answer.out + answer.err
                expected.add(f"Your order {refused['order_id']} could not be completed")
                assert any(_TOLD.format(refused["order_id"]) in sms["text"] for sms in phone.sent.values()), mode
            assert sorted(mail["Subject"] for mail in post.mails()) == sorted(expected)
            assert len(phone.sent) == len(phone.keys) == 4
            assert "notification_messages" in exported(fresh_system.worker_environment["METRICS_PORT"])
            assert await asyncio.to_thread(fresh_system.stop) == 0
