"""The plan of an order and the choreography derived from it, for tests that are generated from them."""

from __future__ import annotations

from cli.documents import document
from cli.graph import plan_of
from contracts.order import NotificationMode, Order
from temporal_saga import Plan
from workflows.choreography import Roles, roles_of


def plan_in(mode: NotificationMode) -> Plan:
    line = {"sku": "BOOK-1", "quantity": 1, "unit_price_minor": 1}
    placed = Order.model_validate(document("o-1", "c-1", [line]) | {"notification": mode})
    return plan_of(placed)


def roles_in(mode: NotificationMode) -> Roles:
    return roles_of(plan_in(mode))
