"""Every operation of every service, by name: what workers serve, and what a transaction given as data may call."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from contracts import inventory, notification, order, payment, shipping
from contracts.message import Lease, ListOpen, OpenTransactions
from saga import Operation

SERVICES: tuple[ModuleType, ...] = (order, payment, inventory, shipping, notification)

OPERATIONS: dict[str, Operation[Any, Any]] = {
    declared.name: declared
    for service in SERVICES
    for declared in vars(service).values()
    if isinstance(declared, Operation)
}

HOLDING: dict[str, Operation[ListOpen, OpenTransactions]] = {
    service.QUEUE: service.list_open for service in SERVICES if hasattr(service, "list_open")
}
"""The services that hold something for an order, and the question for whom: what the sweep asks them."""

LEASES: tuple[Lease, ...] = tuple(service.lease for service in SERVICES if hasattr(service, "lease"))
"""The services whose holds have a lease, for transactions that nobody looks after."""
