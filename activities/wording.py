"""What a message says: one sentence by SMS, and by mail a text and a page from `activities/templates`.

Every outcome has two templates: `.txt` is the text of the mail and names its subject; `.html` is the page, in which
every value is escaped. A customer is told the reason of a rollback in the words of `_REASONS`. What a service or an
operator wrote is not for them.
"""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template, select_autoescape

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
    total = f"{_in_major_units(request)} {request.currency}"
    return _SENTENCES[story].format(order_id=request.order_id, total=total, reason=f": {reason}" if reason else "")


class Letter(NamedTuple):
    """The message as a mail has it."""

    subject: str
    text: str
    html: str


def letter(story: Story, request: NotifyCustomer) -> Letter:
    values = {
        "order_id": request.order_id,
        "total": f"{_in_major_units(request)} {request.currency}",
        "sentence": sentence(story, request),
    }
    text: Any = _template(f"{story}.txt").make_module(values)
    return Letter(text.subject, str(text).strip() + "\n", _template(f"{story}.html").render(values))


@cache
def _template(name: str) -> Template:
    return _environment().get_template(name)


@cache
def _environment() -> Environment:
    folder = FileSystemLoader(Path(__file__).parent / "templates")
    return Environment(loader=folder, autoescape=select_autoescape(["html"]), undefined=StrictUndefined)


def _in_major_units(request: NotifyCustomer) -> str:
    places = _DECIMAL_PLACES.get(request.currency, 2)
    return f"{Decimal(request.total_minor).scaleb(-places):.{places}f}"
