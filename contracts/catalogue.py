"""Every operation of every service, by name: what workers serve, and what a transaction given as data may call."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from contracts import inventory, notification, order, payment, shipping
from saga import Operation

SERVICES: tuple[ModuleType, ...] = (order, payment, inventory, shipping, notification)

OPERATIONS: dict[str, Operation[Any, Any]] = {
    declared.name: declared
    for service in SERVICES
    for declared in vars(service).values()
    if isinstance(declared, Operation)
}
