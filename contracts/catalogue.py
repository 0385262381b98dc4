"""Every operation of every service, by name: workers serve them, and generic transactions may call them."""

from types import ModuleType
from typing import Any

from contracts import inventory, notification, order, payment, shipping
from contracts.message import Facts, Lease, ListOpen, OpenTransactions
from temporal_saga import Operation

SERVICES: tuple[ModuleType, ...] = (order, payment, inventory, shipping, notification)

QUEUES: tuple[str, ...] = (order.WORKFLOWS_QUEUE, *(service.QUEUE for service in SERVICES))
"""The task queues: that of the workflows, and one for each service."""

OPERATIONS: dict[str, Operation[Any, Any]] = {
    declared.name: declared
    for service in SERVICES
    for declared in vars(service).values()
    if isinstance(declared, Operation)
}

HOLDING: dict[str, Operation[ListOpen, OpenTransactions]] = {
    service.QUEUE: service.list_open for service in SERVICES if hasattr(service, "list_open")
}
"""The query of each service for the transactions that it holds something for. The sweep sends it."""

LEASES: tuple[Lease, ...] = tuple(service.lease for service in SERVICES if hasattr(service, "lease"))
"""The leases of the services: the sweep ends those of transactions without a workflow."""

FACTS: dict[str, Facts] = {service.QUEUE: service.facts for service in SERVICES if hasattr(service, "facts")}
"""The events of the services that name theirs in their own contract; `contracts.choreography` names the others."""
