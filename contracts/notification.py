"""The operations of the notification service: tell the customer by e-mail and SMS how the order ended."""

from enum import StrEnum

from contracts.message import AmountMinor, Currency, Id, NotIdentifying, Reply, Request
from contracts.order import Contact
from temporal_saga import Operation

QUEUE = "notification"


class Channel(StrEnum):
    EMAIL = "email"
    SMS = "sms"


class NotifyCustomer(Request):
    order_id: Id
    contact: Contact
    total_minor: AmountMinor
    currency: Currency
    cause: NotIdentifying[str] = ""
    """The code of the failure for which the order is rolled back; empty if the caller does not know it.
    It is not known when the process plans the call, and so it does not identify the request."""


class CustomerNotified(Reply):
    channels: tuple[Channel, ...]
    """The channels whose gateway has taken a message."""


send_confirmation = Operation("notification.send_confirmation", NotifyCustomer, CustomerNotified, queue=QUEUE)
send_cancellation = Operation(
    "notification.send_cancellation", NotifyCustomer, CustomerNotified, queue=QUEUE, undoes=send_confirmation
)
