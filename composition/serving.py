"""A process that serves task queues: its services, its workers, and what goes on beside them."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from temporalio.client import Client
from temporalio.worker import Interceptor

from activities.database import UNUSABLE
from activities.service import Service
from composition.services import meter_of, open_services
from composition.workers import service_worker, workflow_worker
from contracts.catalogue import QUEUES
from contracts.order import WORKFLOWS_QUEUE
from recovery.parked import watching_parked
from runtime.readiness import until_served
from runtime.relay import relaying
from runtime.settings import Settings


@asynccontextmanager
async def serving(
    client: Client,
    settings: Settings,
    queues: Sequence[str] = QUEUES,
    interceptors: Sequence[Interceptor] = (),
    *,
    adopt: bool = False,
) -> AsyncIterator[list[Service]]:
    """Serve `queues` within the block: there, schemas are at their newest version and every poller runs."""
    async with AsyncExitStack() as stack:
        services = await open_services(stack, client, settings, queues, adopt=adopt)
        for service in services:
            await stack.enter_async_context(service_worker(client, service, interceptors))
        if WORKFLOWS_QUEUE in queues:
            build = settings.deployment_version
            await stack.enter_async_context(workflow_worker(client, interceptors, build, colocated=services))
            if settings.metrics_port or settings.otel_exporter_otlp_endpoint:
                await stack.enter_async_context(watching_parked(client, meter_of(client)))
        if settings.events_url is not None:
            outboxes = {service.definition.name: service for service in services}
            await stack.enter_async_context(relaying(settings.events_url, outboxes, UNUSABLE))
        await until_served(client, queues)
        yield services
