"""What a message says in one sentence, by SMS; `activities/mail_content.py` has the mail around it.

A customer is told the reason of a rollback in the words of `_REASONS`. What a service or an operator wrote is not for
them.
"""

from decimal import Decimal
from enum import StrEnum

from contracts.errors import Code
from contracts.notification import NotifyCustomer

_DECIMAL_PLACES = dict.fromkeys(("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX"), 0)
_DECIMAL_PLACES |= dict.fromkeys(("VND", "VUV", "XAF", "XOF", "XPF"), 0)
_DECIMAL_PLACES |= dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3)
"""The currencies whose minor unit is not a hundredth (ISO 4217)."""

_REASONS: dict[str, str] = {
    Code.OUT_OF_STOCK: "an article is out of stock",
    Code.UNKNOWN_SKU: "an article is not sold any more",
    Code.PAYMENT_DECLINED: "the payment was declined",
    Code.INSUFFICIENT_FUNDS: "the payment was declined",
    Code.SHIPPING_UNAVAILABLE: "we cannot ship to this address",
    Code.NOTIFICATION_FAILED: "our mail to you was refused",
    Code.DEADLINE_EXCEEDED: "it could not be confirmed in time",
    Code.STEP_TIMEOUT: "it could not be confirmed in time",
    Code.SERVICE_UNAVAILABLE: "it could not be confirmed in time",
}
"""The reasons that a customer may know, by the code of the failure. Any other code stays without a reason."""


class Story(StrEnum):
    """What a message tells. The value is the name of its templates."""

    CONFIRMED = "confirmed"
    ROLLED_BACK = "rolled_back"
    CANCELLED = "cancelled"


_SENTENCES = {
    Story.CONFIRMED: "Your order {order_id} over {total} is confirmed.",
    Story.ROLLED_BACK: "Your order {order_id} could not be completed{reason}. "
    "Nothing is charged; what was held is released.",
    Story.CANCELLED: "Your order {order_id} is cancelled. Nothing is charged; what was held is released.",
}


def sentence(story: Story, request: NotifyCustomer) -> str:
    """The message in one line, as an SMS has it."""
    reason = _REASONS.get(request.cause)
    values = {"order_id": request.order_id, "total": total(request), "reason": f": {reason}" if reason else ""}
    return _SENTENCES[story].format_map(values)


def total(request: NotifyCustomer) -> str:
    """The order's total in major units with its currency: `12.99 EUR`."""
    places = _DECIMAL_PLACES.get(request.currency, 2)
    return f"{Decimal(request.total_minor).scaleb(-places):.{places}f} {request.currency}"
