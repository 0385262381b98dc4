"""The notification service: tells the customer by e-mail and SMS how the order ended, once for each outcome.

Without a gateway in the settings it is simulated: a message counts as sent when it is in `messages`, which its
operation writes in its local transaction. Addresses under `.invalid` bounce (RFC 2606). `activities/delivery.py` sends
messages for real.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import MetaData

from activities.definition import ServiceDefinition, implements
from activities.fence import Decision, RefusedDecision, declare_fence
from activities.records import Record, Ref, UnitOfWork, effects_table, record
from activities.wording import Story, sentence
from contracts import notification
from contracts.errors import Code
from contracts.notification import Channel, CustomerNotified, NotifyCustomer
from contracts.order import OrderState
from temporal_saga import Operation

metadata = MetaData()
Fence = declare_fence(metadata)
effects_table(metadata)

SUBJECTS: dict[Operation[Any, Any], OrderState] = {
    notification.send_confirmation: OrderState.CONFIRMED,
    notification.send_cancellation: OrderState.CANCELLED,
}
"""The outcome of the order that each operation tells the customer."""


@record(metadata, "messages", key=("transaction_id", "subject", "channel"))
@dataclass(frozen=True)
class SentMessage(Record):
    transaction_id: str
    subject: OrderState
    """The outcome of the order that the message is about."""
    channel: Channel
    address: str
    text: str


class DeliveryState(StrEnum):
    SENDING = "SENDING"
    """An attempt has claimed the message and may be handing it over."""
    SENT = "SENT"
    """The gateway has taken it."""
    NOT_SENT = "NOT_SENT"
    """The gateway has not taken it, or is asked again under the same key: another attempt may send it."""
    REFUSED = "REFUSED"
    """The gateway will never take it."""
    IN_DOUBT = "IN_DOUBT"
    """It was handed over, and no answer came. It is not sent again."""


@record(metadata, "deliveries", key=("transaction_id", "subject", "channel"))
@dataclass(frozen=True)
class DeliveryRecord(Record):
    """What became of a message to the outside. There is none where the gateway is simulated."""

    transaction_id: str
    subject: OrderState
    channel: Channel
    address: str
    state: DeliveryState
    digest: str
    """Hash of the request that the message was made from."""
    claimed_until: datetime
    """Until then the attempt that made the last claim may be handing the message over."""
    problem: str | None = None
    """Why it was not taken, or is in doubt."""


def story_of(request: NotifyCustomer, subject: OrderState) -> Story:
    """Which of the messages tells the customer of this outcome."""
    if subject is OrderState.CONFIRMED:
        return Story.CONFIRMED
    return Story.CANCELLED if request.cause == Code.CANCELLED else Story.ROLLED_BACK


def _no_rows(_: NotifyCustomer) -> Iterable[Ref]:
    return ()


@implements(notification.send_confirmation, touches=_no_rows)
def send_confirmation(uow: UnitOfWork, request: NotifyCustomer) -> Decision[CustomerNotified]:  # noqa: ARG001 — every decision has this signature
    if not _mail_can_be_delivered(request):
        raise RefusedDecision(Code.NOTIFICATION_FAILED, "the customer's mail server does not exist")
    return _send(request, OrderState.CONFIRMED)


@implements(notification.send_cancellation, touches=_no_rows)
def send_cancellation(uow: UnitOfWork, request: NotifyCustomer) -> Decision[CustomerNotified]:  # noqa: ARG001 — every decision has this signature
    """Tell the customer of the cancellation: the one undo that also acts when there is nothing to undo.

    Like any undo it never refuses: a customer whose mail cannot be delivered gets the SMS alone.
    """
    return _send(request, OrderState.CANCELLED)


def _send(request: NotifyCustomer, subject: OrderState) -> Decision[CustomerNotified]:
    channels = tuple(Channel) if _mail_can_be_delivered(request) else (Channel.SMS,)
    return sent_by(channels, request, subject)


def sent_by(channels: Sequence[Channel], request: NotifyCustomer, subject: OrderState) -> Decision[CustomerNotified]:
    """The decision that the message about `subject` has gone out by `channels`."""
    text = sentence(story_of(request, subject), request)
    rows = [SentMessage(request.transaction_id, subject, each, address_of(request, each), text) for each in channels]
    return Decision(CustomerNotified(channels=tuple(channels)), rows)


def address_of(request: NotifyCustomer, channel: Channel) -> str:
    return request.contact.email if channel is Channel.EMAIL else request.contact.phone


def _mail_can_be_delivered(request: NotifyCustomer) -> bool:
    return not request.contact.email.endswith(".invalid")


NOTIFICATION = ServiceDefinition(
    "notification",
    metadata,
    Fence,
    [send_confirmation, send_cancellation],
    personal={SentMessage: ("address", "text"), DeliveryRecord: ("address", "digest", "problem")},
)


def delivered_by(channels: Sequence[Channel]) -> ServiceDefinition:
    """The service whose operations are decided by what became of their messages, which `DeliveringService` has sent."""

    def messages(request: NotifyCustomer) -> Iterable[Ref]:
        for subject in (OrderState.CONFIRMED, OrderState.CANCELLED):
            for channel in Channel:
                yield Ref(DeliveryRecord, (request.transaction_id, subject, channel))

    def told(uow: UnitOfWork, request: NotifyCustomer, subject: OrderState) -> Decision[CustomerNotified]:
        rows = (uow.get(DeliveryRecord, request.transaction_id, subject, channel) for channel in channels)
        sent = [row.channel for row in rows if row is not None and row.state is DeliveryState.SENT]
        return sent_by(sent, request, subject)

    @implements(notification.send_confirmation, touches=messages)
    def send_confirmation(uow: UnitOfWork, request: NotifyCustomer) -> Decision[CustomerNotified]:
        first = uow.get(DeliveryRecord, request.transaction_id, OrderState.CONFIRMED, channels[0])
        if first is not None and first.state is DeliveryState.REFUSED:
            raise RefusedDecision(Code.NOTIFICATION_FAILED, _refusal_of(first))
        return told(uow, request, OrderState.CONFIRMED)

    @implements(notification.send_cancellation, touches=messages)
    def send_cancellation(uow: UnitOfWork, request: NotifyCustomer) -> Decision[CustomerNotified]:
        return told(uow, request, OrderState.CANCELLED)

    return replace(NOTIFICATION, handlers=[send_confirmation, send_cancellation])


_ANSWER_CODE = re.compile(r"\b[45]\d\d\b( 5(\.\d{1,3}){2}\b)?")


def _refusal_of(delivery: DeliveryRecord) -> str:
    """The words of a refusal, which the fence keeps: without the gateway's own, which name the address and would
    outlive its erasure. They are in `deliveries.problem`."""
    code = _ANSWER_CODE.search(delivery.problem or "")
    return f"the {delivery.channel} was refused{f': {code[0]}' if code else ''}"
