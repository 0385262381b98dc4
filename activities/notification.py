"""The notification service: what the customer is told, by e-mail and SMS, once for each end of an order.

The gateway is a simulated one: a message is delivered by being kept in `messages`, in the local transaction of its
operation, so it is sent exactly as often as the fence lets it. Addresses under `.invalid` bounce (RFC 2606).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from sqlalchemy import MetaData

from activities.fence import Decision, Refusal, declare_fence
from activities.records import Record, Ref, Rows, effects_table, record
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
    """`subject` is the end of the order that the customer was told."""

    transaction_id: str
    subject: OrderState
    channel: Channel
    address: str
    text: str


_DECIMAL_PLACES = dict.fromkeys(("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX"), 0)
_DECIMAL_PLACES |= dict.fromkeys(("VND", "VUV", "XAF", "XOF", "XPF"), 0)
_DECIMAL_PLACES |= dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3)
"""Where the minor unit is not a hundredth (ISO 4217)."""


def _none(_: NotifyCustomer) -> Iterable[Ref]:
    return ()


@implements(notification.send_confirmation, touches=_none)
def send_confirmation(rows: Rows, request: NotifyCustomer) -> Decision[CustomerNotified]:  # noqa: ARG001 — a decision takes rows
    if not _mail_can_be_delivered(request):
        raise Refusal(Code.NOTIFICATION_FAILED, "the customer's mail server does not exist")
    total = f"{_in_major_units(request)} {request.currency}"
    return _tell(request, OrderState.CONFIRMED, f"Your order {request.order_id} over {total} is confirmed.")


@implements(notification.send_cancellation, touches=_none)
def send_cancellation(rows: Rows, request: NotifyCustomer) -> Decision[CustomerNotified]:  # noqa: ARG001 — a decision takes rows
    """The one undo that acts when there is nothing to undo: a customer who was told nothing is told this.

    It says no to nobody, as an undo must not: where mail cannot be delivered there is still the SMS.
    """
    text = f"Your order {request.order_id} could not be completed. Nothing is charged; what was held is released."
    return _tell(request, OrderState.CANCELLED, text)


def _tell(request: NotifyCustomer, subject: OrderState, text: str) -> Decision[CustomerNotified]:
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


NOTIFICATION = ServiceDefinition("notification", metadata, Fence, [send_confirmation, send_cancellation])
