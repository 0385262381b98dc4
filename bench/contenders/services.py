"""The product's five services, opened on their databases and stocked, for programs that bring their own engine."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from activities.catalogue import SERVICES
from activities.database import connect, migrate
from activities.fence import Refusal
from activities.service import Service
from contracts import inventory, payment
from contracts.inventory import SetStock
from contracts.message import Reply, Request
from contracts.payment import SetAccount
from runtime.seed import CUSTOMERS, PRICES_MINOR
from runtime.settings import Settings
from saga import Operation

_UNITS = 1_000_000
_BALANCE_MINOR = 10**11
"""More than any load buys, as in the product's own seed."""


@asynccontextmanager
async def open_services(settings: Settings) -> AsyncIterator[Mapping[str, Service]]:
    """The services by name, with schemas at their newest version, goods on the shelves and money in the accounts."""
    async with AsyncExitStack() as stack:
        services = {}
        for name, definition in SERVICES.items():
            database = connect(settings.database_of(name))
            stack.push_async_callback(database.dispose)
            await migrate(database, name)
            services[name] = Service(definition, database)
        for sku in PRICES_MINOR:
            await call(services, inventory.set_stock, SetStock(transaction_id=f"seed-{sku}", sku=sku, on_hand=_UNITS))
        for customer in CUSTOMERS:
            opening = SetAccount(transaction_id=f"seed-{customer}", customer_id=customer, balance_minor=_BALANCE_MINOR)
            await call(services, payment.set_account, opening)
        yield services


async def call(services: Mapping[str, Service], operation: Operation[Any, Any], request: Request) -> Reply:
    """One operation in one local transaction, as the service's activity does it. Raises `Refusal`."""
    service = services[operation.queue]
    [handler] = [each for each in service.definition.handlers if each.operation is operation]
    [answer] = await service.perform(handler, [request])
    if isinstance(answer, Refusal):
        raise answer
    done: Reply = answer
    return done
