"""The notification service: tells the customer by e-mail and SMS how the order ended, once for each outcome.

The gateway is simulated: a message counts as sent when it is in `messages`, which its operation writes in its local
transaction, so the fence bounds how often it is sent. Addresses under `.invalid` bounce (RFC 2606).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from sqlalchemy import MetaData

from activities.fence import Decision, Refusal, declare_fence
from activities.records import Record, Ref, UnitOfWork, effects_table, record
from activities.service import ServiceDefinition, implements
from contracts import notification
from contracts.errors import Code
from contracts.notification import Channel, CustomerNotified, NotifyCustomer
from contracts.order import OrderState

metadata = MetaData()
Fence = declare_fence(metadata)
effects_table(metadata)


@record(metadata, "messages", key=("transaction_id", "subject", "channel"))
@dataclass(frozen=True)
class SentMessage(Record):
    transaction_id: str
    subject: OrderState
    """The outcome of the order that the message is about."""
    channel: Channel
    address: str
    text: str


_DECIMAL_PLACES = dict.fromkeys(("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX"), 0)
_DECIMAL_PLACES |= dict.fromkeys(("VND", "VUV", "XAF", "XOF", "XPF"), 0)
_DECIMAL_PLACES |= dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3)
"""The currencies whose minor unit is not a hundredth (ISO 4217)."""


def _no_rows(_: NotifyCustomer) -> Iterable[Ref]:
    return ()


@implements(notification.send_confirmation, touches=_no_rows)
def send_confirmation(uow: UnitOfWork, request: NotifyCustomer) -> Decision[CustomerNotified]:  # noqa: ARG001 — every decision has this signature
    if not _mail_can_be_delivered(request):
        raise Refusal(Code.NOTIFICATION_FAILED, "the customer's mail server does not exist")
    total = f"{_in_major_units(request)} {request.currency}"
    return _send(request, OrderState.CONFIRMED, f"Your order {request.order_id} over {total} is confirmed.")


@implements(notification.send_cancellation, touches=_no_rows)
def send_cancellation(uow: UnitOfWork, request: NotifyCustomer) -> Decision[CustomerNotified]:  # noqa: ARG001 — every decision has this signature
    """Tell the customer of the cancellation: the one undo that also acts when there is nothing to undo.

    Like any undo it never refuses: a customer whose mail cannot be delivered gets the SMS alone.
    """
    text = f"Your order {request.order_id} could not be completed. Nothing is charged; what was held is released."
    return _send(request, OrderState.CANCELLED, text)


def _send(request: NotifyCustomer, subject: OrderState, text: str) -> Decision[CustomerNotified]:
    addresses = {Channel.EMAIL: request.contact.email, Channel.SMS: request.contact.phone}
    if not _mail_can_be_delivered(request):
        del addresses[Channel.EMAIL]
    messages = [SentMessage(request.transaction_id, subject, channel, to, text) for channel, to in addresses.items()]
    return Decision(CustomerNotified(channels=tuple(addresses)), messages)


def _mail_can_be_delivered(request: NotifyCustomer) -> bool:
    return not request.contact.email.endswith(".invalid")


def _in_major_units(request: NotifyCustomer) -> str:
    places = _DECIMAL_PLACES.get(request.currency, 2)
    return f"{Decimal(request.total_minor).scaleb(-places):.{places}f}"


NOTIFICATION = ServiceDefinition(
    "notification",
    metadata,
    Fence,
    [send_confirmation, send_cancellation],
    personal={SentMessage: ("address", "text")},
)
