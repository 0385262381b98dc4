"""Parts of order documents that several tests share: an address and a contact that are refused, and what follows."""

from typing import Any

SOUTH_POLE = {"name": "R. Amundsen", "street": "1 Pole", "city": "South Pole", "postcode": "0", "country": "AQ"}
"""An address that no courier serves: `shipping.schedule` refuses it."""
BOUNCING_CONTACT = {"email": "ada@nowhere.invalid", "phone": "+442071234567"}
"""A contact whose mail bounces: `notification.send_confirmation` refuses it."""
REQUIRED: dict[str, Any] = {"notification": "required"}
"""Every step of such an order comes before the pivot or is promised by it: none is a best effort."""
BOUNCES: dict[str, Any] = REQUIRED | {"contact": BOUNCING_CONTACT}
"""Refused at the last step before the pivot, so that every step is undone."""


def line(sku: str, quantity: int = 1) -> list[dict[str, Any]]:
    """The lines of an order for one article, at 500 a unit."""
    return [{"sku": sku, "quantity": quantity, "unit_price_minor": 500}]
