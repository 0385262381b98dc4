"""Messages to the outside: each is handed over at most once, whatever is lost, and the operation says what is known."""

import asyncio
import json
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from temporalio.api.common.v1 import Payload
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities import delivery, mail
from activities.delivery import DeliveringService
from activities.fence import RefusedDecision
from activities.gateways import Gateway
from activities.mail import SmtpGateway
from activities.sms import WebhookGateway
from contracts import notification
from contracts.errors import Code
from contracts.notification import Channel, CustomerNotified
from contracts.retention import RETIRE, Retire, RetireStage

from ..end_to_end.command import Program
from ..eventually import eventually_async
from .conftest import OpenHarness
from .receivers import MailReceiver, SmsReceiver
from .requests import TX, document, notice
from .service_harness import ServiceHarness

CONFIRM, CANCEL = notification.send_confirmation, notification.send_cancellation
ROOT = Path(__file__).parents[2]
Opened = Callable[..., Awaitable["Outside"]]


class Outside:
    """The notification service with real gateways, on a database of its own."""

    def __init__(self, harness: ServiceHarness, gateways: Sequence[Gateway]) -> None:
        self.harness = harness
        self.service = DeliveringService(harness.database, gateways)

    async def deliver(self, operation: Any, request: Any) -> CustomerNotified:
        reply: CustomerNotified = await self.service.execute(operation, request)
        return reply.model_copy(update={"repeated": False})

    async def refuse(self, operation: Any, request: Any) -> tuple[str, str]:
        with pytest.raises(RefusedDecision) as refused:
            await self.service.execute(operation, request)
        return refused.value.code, refused.value.message

    async def fail(self, operation: Any, request: Any) -> str:
        """Make an attempt that must fail so that Temporal retries it; its message."""
        with pytest.raises(ApplicationError) as failed:
            await self.service.execute(operation, request)
        assert (failed.value.type, failed.value.non_retryable) == (Code.SERVICE_UNAVAILABLE, False)
        return failed.value.message

    async def states(self) -> dict[tuple[str, str], str]:
        rows = await self.harness.rows("deliveries")
        return {(row["subject"].value, row["channel"].value): row["state"].value for row in rows}


@pytest.fixture
async def post() -> AsyncIterator[MailReceiver]:
    async with MailReceiver().listening() as receiver:
        yield receiver


@pytest.fixture
def phone() -> Iterator[SmsReceiver]:
    with SmsReceiver().listening() as receiver:
        yield receiver


@pytest.fixture
async def opened(open_harness: OpenHarness) -> AsyncIterator[Opened]:
    services = []

    async def open_with(*receivers: MailReceiver | SmsReceiver, harness: ServiceHarness | None = None) -> Outside:
        gateways = [
            SmtpGateway(each.server()) if isinstance(each, MailReceiver) else WebhookGateway(each.webhook)
            for each in receivers
        ]
        services.append(outside := Outside(harness or await open_harness("notification"), gateways))
        return outside

    yield open_with
    for outside in services:
        await outside.service.close()


async def test_a_confirmation_reaches_the_mail_server_and_the_webhook_once(
    opened: Opened, post: MailReceiver, phone: SmsReceiver
) -> None:
    outside = await opened(post, phone)
    for _ in range(2):
        assert await outside.deliver(CONFIRM, notice()) == CustomerNotified(channels=(Channel.EMAIL, Channel.SMS))
    [sent] = post.mails()
    assert (sent["To"], sent["From"]) == ("ada@example.org", "Shop <shop@example.com>")
    assert sent["Subject"] == "Your order o-1 is confirmed"
    text, html = (sent.get_body((kind,)) for kind in ("plain", "html"))
    assert text is not None
    assert "\nYour order o-1 over 19.99 EUR is confirmed.\n" in text.get_content().replace("\r\n", "\n")
    assert html is not None
    assert "<p>Your order o-1 over 19.99 EUR is confirmed.</p>" in html.get_content()
    assert list(phone.sent.values()) == [{"to": "+4930123456", "text": "Your order o-1 over 19.99 EUR is confirmed."}]
    assert phone.unsigned == []
    assert await outside.states() == {("CONFIRMED", "email"): "SENT", ("CONFIRMED", "sms"): "SENT"}
    assert [row["channel"] for row in await outside.harness.rows("messages")] == ["email", "sms"]
    assert await outside.harness.effects("order/o-1") == ["notification.send_confirmation"]


async def test_what_was_told_by_the_simulated_gateway_is_not_told_again_by_a_real_one(
    opened: Opened, open_harness: OpenHarness, post: MailReceiver
) -> None:
    harness = await open_harness("notification")
    told = await harness.deliver(CONFIRM, notice())
    outside = await opened(post, harness=harness)
    assert await outside.deliver(CONFIRM, notice()) == told
    assert post.attempts == []
    assert await outside.states() == {}


@pytest.mark.parametrize("operation", [CONFIRM, CANCEL], ids=["confirmation", "cancellation"])
async def test_a_late_delivery_for_a_retired_order_sends_nothing(
    opened: Opened, post: MailReceiver, operation: Any
) -> None:
    outside = await opened(post)
    old = Retire(transaction_ids=(TX,), before=datetime.now(UTC), stage=RetireStage.REFUSE)
    await outside.harness.execute(RETIRE["notification"], old)
    code, _ = await outside.refuse(operation, notice())
    assert code == Code.RETIRED
    assert post.attempts == []


async def test_a_channel_without_a_gateway_is_not_used_where_there_is_another(
    opened: Opened, phone: SmsReceiver
) -> None:
    outside = await opened(phone)
    assert (await outside.deliver(CONFIRM, notice())).channels == (Channel.SMS,)
    assert await outside.states() == {("CONFIRMED", "sms"): "SENT"}


async def test_a_refused_recipient_is_a_refusal_that_is_kept(
    opened: Opened, post: MailReceiver, phone: SmsReceiver
) -> None:
    outside = await opened(post, phone)
    post.to_rcpt.append(f"550 5.1.1 <{notice().contact.email}> no such user")
    for _ in range(2):
        code, words = await outside.refuse(CONFIRM, notice())
        assert code == Code.NOTIFICATION_FAILED
        assert words == "the email was refused: 550 5.1.1", "the fence keeps it, and no address may outlive its erasure"
    assert "no such user" in (await outside.harness.row("deliveries", channel="email"))["problem"]
    assert len(post.attempts) == 1
    assert phone.keys == [], "a refused step has kept nothing"


async def test_a_greylisted_recipient_gets_its_mail_by_a_later_attempt(opened: Opened, post: MailReceiver) -> None:
    outside = await opened(post)
    post.to_rcpt.append("451 4.7.1 greylisted, try again")
    assert "451 4.7.1 greylisted" in await outside.fail(CONFIRM, notice())
    assert await outside.states() == {("CONFIRMED", "email"): "NOT_SENT"}
    assert (await outside.deliver(CONFIRM, notice())).channels == (Channel.EMAIL,)
    assert len(post.mails()) == 1


async def test_a_mail_whose_reply_is_lost_is_in_doubt_and_not_sent_again(opened: Opened, post: MailReceiver) -> None:
    outside = await opened(post)

    async def lost() -> str:
        post.lose_the_connection()
        return "250 OK"

    post.to_data.append(lost)
    for _ in range(3):
        assert "in doubt, and not sent again" in await outside.fail(CONFIRM, notice())
    assert len(post.envelopes) == 1
    assert await outside.states() == {("CONFIRMED", "email"): "IN_DOUBT"}
    assert (await outside.deliver(CANCEL, notice())).channels == (Channel.EMAIL,), "its undo runs"
    assert [each["Subject"] for each in post.mails()][1:] == ["Your order o-1 could not be completed"]


async def test_a_customer_who_got_the_sms_is_told_though_the_mail_is_in_doubt(
    opened: Opened, post: MailReceiver, phone: SmsReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mail, "ANSWER_S", 0.2)
    outside = await opened(post, phone)

    async def silent() -> str:
        await asyncio.sleep(30)
        return "250 OK"

    post.to_data.append(silent)
    assert (await outside.deliver(CONFIRM, notice())).channels == (Channel.SMS,)
    assert await outside.states() == {("CONFIRMED", "email"): "IN_DOUBT", ("CONFIRMED", "sms"): "SENT"}


async def test_an_sms_whose_reply_is_lost_is_asked_for_again_under_its_key(opened: Opened, phone: SmsReceiver) -> None:
    outside = await opened(phone)
    phone.answers += [500, lambda: 502]
    assert await outside.fail(CONFIRM, notice()) == "the SMS webhook answered 500 Internal Server Error"
    assert await outside.fail(CONFIRM, notice()) == "the SMS webhook answered 502 Bad Gateway"
    assert (await outside.deliver(CONFIRM, notice())).channels == (Channel.SMS,)
    assert len(phone.keys) == 3
    assert len(set(phone.keys)) == len(phone.sent) == 1


async def test_an_undo_is_done_though_the_mail_server_refuses_the_customer(
    opened: Opened, post: MailReceiver, phone: SmsReceiver
) -> None:
    outside = await opened(post, phone)
    post.to_rcpt.append("550 no such user")
    assert (await outside.deliver(CANCEL, notice())).channels == (Channel.SMS,)
    assert await outside.states() == {("CANCELLED", "email"): "REFUSED", ("CANCELLED", "sms"): "SENT"}


async def test_a_confirmation_that_comes_after_its_undo_sends_nothing(opened: Opened, post: MailReceiver) -> None:
    outside = await opened(post)
    await outside.deliver(CANCEL, notice())
    code, _ = await outside.refuse(CONFIRM, notice())
    assert code == Code.STEP_UNDONE
    assert len(post.mails()) == 1


async def test_a_confirmation_sends_nothing_while_its_undo_is_on_its_way(opened: Opened, post: MailReceiver) -> None:
    """The undo has told the customer, and its worker has died before the fence knew."""
    outside = await opened(post)
    post.to_rcpt.append("451 not now")
    await outside.fail(CANCEL, notice())
    code, _ = await outside.refuse(CONFIRM, notice())
    assert code == Code.STEP_UNDONE
    assert (await outside.deliver(CANCEL, notice())).channels == (Channel.EMAIL,)
    assert len(post.mails()) == 1


async def test_an_undo_waits_for_a_confirmation_that_is_being_sent(opened: Opened, post: MailReceiver) -> None:
    first = await opened(post)
    second = await opened(post, harness=first.harness.sibling())
    taken = asyncio.Event()

    async def slow() -> str:
        taken.set()
        await asyncio.sleep(0.5)
        return "250 OK"

    post.to_data.append(slow)
    confirming = asyncio.create_task(first.deliver(CONFIRM, notice()))
    await taken.wait()
    assert (await second.deliver(CANCEL, notice())).channels == (Channel.EMAIL,)
    assert confirming.done() or (await confirming)
    assert [each["Subject"] for each in post.mails()] == [
        "Your order o-1 is confirmed",
        "Your order o-1 could not be completed",
    ]


async def test_two_attempts_at_once_in_two_workers_send_one_mail(opened: Opened, post: MailReceiver) -> None:
    first = await opened(post)
    second = await opened(post, harness=first.harness.sibling())
    replies = await asyncio.gather(*(each.deliver(CONFIRM, notice()) for each in (first, second, first, second)))
    assert set(replies) == {CustomerNotified(channels=(Channel.EMAIL,))}
    assert len(post.mails()) == 1


async def test_a_cancelled_attempt_does_not_stop_its_delivery(opened: Opened, post: MailReceiver) -> None:
    outside = await opened(post)
    taken = asyncio.Event()

    async def slow() -> str:
        taken.set()
        await asyncio.sleep(0.3)
        return "250 OK"

    post.to_data.append(slow)
    attempt = asyncio.create_task(outside.deliver(CONFIRM, notice()))
    await taken.wait()
    attempt.cancel()
    assert (await outside.deliver(CONFIRM, notice())).channels == (Channel.EMAIL,)
    assert len(post.mails()) == 1


async def test_another_request_under_the_same_key_sends_nothing(opened: Opened, post: MailReceiver) -> None:
    outside = await opened(post)
    post.to_data.append(_lost(post))
    await outside.fail(CONFIRM, notice())
    code, _ = await outside.refuse(CONFIRM, notice(email="eve@example.org"))
    assert code == Code.IDEMPOTENCY_CONFLICT
    assert post.attempts == ["ada@example.org"]


async def test_a_request_that_an_operator_has_corrected_is_sent(opened: Opened, post: MailReceiver) -> None:
    outside = await opened(post)
    post.to_rcpt.append("450 mailbox full")
    await outside.fail(CANCEL, notice())
    await outside.deliver(CANCEL, notice(email="ada@new.example.org"))
    assert [each["To"] for each in post.mails()] == ["ada@new.example.org"]


async def test_the_outcome_of_a_delivery_is_noted_when_the_database_is_back(opened: Opened, post: MailReceiver) -> None:
    outside = await opened(post)
    failures = 0

    def gone(_: Any) -> None:
        nonlocal failures
        if post.envelopes and failures < 2:
            failures += 1
            raise OSError("the network is down")

    event.listen(outside.harness.database.sync_engine, "begin", gone)
    assert (await outside.deliver(CONFIRM, notice())).channels == (Channel.EMAIL,)
    assert failures == 2
    assert len(post.mails()) == 1


async def test_a_batch_is_sent_over_few_connections_and_each_refusal_is_its_own(
    opened: Opened, post: MailReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "WAIT_S", 60)  # a busy machine may need more than one attempt is given
    outside = await opened(post)
    post.to_rcpt.append("550 no such user")
    requests = [notice(transaction_id=f"order/o-{number}") for number in range(120)]
    activity = outside.service.activities()[2]
    reply = await ActivityEnvironment().run(activity, _batch(requests))
    assert (reply.count, [no.code for no in reply.refused]) == (120, [Code.NOTIFICATION_FAILED])
    assert len(post.mails()) == 119
    assert len(post.connections) <= 30


async def test_a_batch_with_an_unsettled_message_is_retried_for_that_one_alone(
    opened: Opened, post: MailReceiver
) -> None:
    outside = await opened(post)
    post.to_rcpt.append("451 greylisted")
    requests = [notice(transaction_id=f"order/o-{number}") for number in range(5)]
    activity = outside.service.activities()[2]
    with pytest.raises(ApplicationError, match="451 greylisted"):
        await ActivityEnvironment().run(activity, _batch(requests))
    assert len(post.mails()) == 4
    assert (await ActivityEnvironment().run(activity, _batch(requests))).refused == ()
    assert Counter(each["Subject"] for each in post.mails()) == {
        f"Your order o-{number} is confirmed": 1 for number in range(5)
    }


async def test_a_delivery_ends_with_its_time_though_the_mail_server_is_silent(
    opened: Opened, post: MailReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "DELIVERY_S", 0.3)
    outside = await opened(post)

    async def silent() -> str:
        await asyncio.sleep(30)
        return "250 OK"

    post.to_data.append(silent)
    assert "did not answer" in await outside.fail(CONFIRM, notice())
    assert await outside.states() == {("CONFIRMED", "email"): "IN_DOUBT"}


@pytest.mark.processes
@pytest.mark.parametrize("channel", ["mail", "sms"])
async def test_a_worker_that_is_killed_while_it_sends_leaves_no_second_mail_and_a_second_try_of_an_sms(
    opened: Opened, post: MailReceiver, phone: SmsReceiver, tmp_path: Path, channel: str
) -> None:
    outside = await opened(post if channel == "mail" else phone)
    url = outside.harness.url
    gateway = {"SMTP_URL": post.url()} if channel == "mail" else _webhook_settings(phone)
    environment = {"PATH": "", **gateway}
    worker = Program(["tests/services/send_one.py", url], tmp_path, environment)

    async def kill() -> str:
        os.kill(worker.pid, signal.SIGKILL)  # its exit code is for the one thread that waits for it
        return "250 OK"

    def kill_and_answer() -> int:
        os.kill(worker.pid, signal.SIGKILL)
        return 500

    post.to_data.append(kill)
    phone.answers.append(kill_and_answer)
    assert await asyncio.to_thread(worker.wait) == -signal.SIGKILL
    if channel == "mail":
        words = await eventually_async(lambda: outside.fail(CONFIRM, notice()), "the claim is over", until=_is_in_doubt)
        assert words == "the worker ended while it sent the message; it is in doubt, and not sent again"
        assert len(post.envelopes) == 1
    else:
        assert (await outside.deliver(CONFIRM, notice())).channels == (Channel.SMS,)
        assert (len(phone.keys), len(phone.sent)) == (2, 1)


def _webhook_settings(phone: SmsReceiver) -> dict[str, str]:
    return {"SMS_WEBHOOK_URL": phone.url, "SMS_WEBHOOK_SECRET": phone.encoded_secret}


def _is_in_doubt(words: str) -> bool:
    return "in doubt" in words


def _lost(post: MailReceiver) -> Callable[[], Awaitable[str]]:
    async def lost() -> str:
        post.lose_the_connection()
        return "250 OK"

    return lost


def _batch(requests: Sequence[Any]) -> Any:
    return RawValue(Payload(data=json.dumps({"requests": [document(each) for each in requests]}).encode()))
