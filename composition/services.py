"""The services of a process: each on its database, and with the gateways that the settings name."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

from temporalio.client import Client
from temporalio.common import MetricMeter

from activities.catalogue import SERVICES
from activities.database import TRANSACTION_ERRORS, reason_of
from activities.delivery import DeliveringService
from activities.gateways import Gateway
from activities.mail import SmtpGateway
from activities.notification import NOTIFICATION
from activities.opening import CannotBeOpened, NotToBeUsed, Opening
from activities.service import Service
from activities.sms import WebhookGateway
from composition.workers import LEAVES_TRACES
from runtime import connection
from runtime.connection import Unreachable
from runtime.readiness import until_answered
from runtime.seed import seed
from runtime.settings import Settings, SettingsError
from temporal_saga import Operation

_SEED_ATTEMPTS = 3
"""Attempts to seed a database; each waits as long as a transaction may take."""


async def open_services(
    stack: AsyncExitStack, client: Client, settings: Settings, queues: Sequence[str], *, adopt: bool
) -> list[Service]:
    """The services among `queues`, with schemas at their newest version; `stack` closes them.

    Raises `SettingsError` if a database must not be used, and `Unreachable` if one does not answer.
    """
    opening = Opening(
        urls={name: settings.database_of(name) for name in SERVICES},
        temporal=await until_answered("the namespace's id", partial(connection.identity_of, client)),
        has_orders=partial(until_answered, "the number of orders", partial(connection.knows, client, LEAVES_TRACES)),
        adopt=adopt,
    )
    try:
        databases = await opening.open(stack, [queue for queue in queues if queue in SERVICES])
    except NotToBeUsed as error:
        remedy = "see DATABASE_URL and TEMPORAL_*, or start once with --adopt-databases: docs/runbook.md"
        raise SettingsError(f"{error}; {remedy}") from error
    except CannotBeOpened as error:
        raise Unreachable(f"{error}; see DATABASE_URL") from error
    gateways, publishes = gateways_of(settings), settings.events_url is not None
    meter = meter_of(client)
    services = list[Service]()
    for name, database in databases.items():
        if name == NOTIFICATION.name and gateways:
            services.append(delivering := DeliveringService(database, gateways, publishes=publishes, meter=meter))
            stack.push_async_callback(delivering.close)
        else:
            services.append(Service(SERVICES[name], database, publishes=publishes, meter=meter))
    return services


def meter_of(client: Client) -> MetricMeter:
    """Where the process counts what is of no workflow and no activity."""
    core = client.service_client.config.runtime
    return MetricMeter.noop if core is None else core.metric_meter


def gateways_of(settings: Settings) -> list[Gateway]:
    """The gateways to the outside, in the order of their use; empty if messages are simulated."""
    gateways: list[Gateway] = []
    if settings.smtp_url is not None:
        gateways.append(SmtpGateway(settings.smtp_url))
    if settings.sms_webhook is not None:
        gateways.append(WebhookGateway(settings.sms_webhook))
    return gateways


async def seed_through(services: Sequence[Service]) -> None:
    """Fill an empty system through the services of this process, because injected faults would fail activities."""
    by_name = {service.definition.name: service for service in services}

    async def execute(operation: Operation[Any, Any], request: Any) -> Any:
        for attempt in range(_SEED_ATTEMPTS):
            try:
                return await by_name[operation.queue].execute(operation, request)
            except TRANSACTION_ERRORS as error:
                if attempt + 1 == _SEED_ATTEMPTS:
                    raise Unreachable(f"{operation.queue} database: {reason_of(error)}; see DATABASE_URL") from error
        raise AssertionError(_SEED_ATTEMPTS)

    await seed(execute)
