"""The product's five services, opened on their databases and stocked, for programs that bring their own engine."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

from activities.catalogue import SERVICES
from activities.database import connect
from activities.schema import migrate
from activities.service import Service
from runtime.seed import seed
from runtime.settings import Settings
from temporal_saga import Operation


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
        await seed(partial(call, services))
        yield services


async def call(services: Mapping[str, Service], operation: Operation[Any, Any], request: Any) -> Any:
    """Perform one operation in one local transaction, as the service's activity does. Raises `RefusedDecision`."""
    return await services[operation.queue].execute(operation, request)
