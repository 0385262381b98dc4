#!/usr/bin/env python3
"""The composition root: builds the services from the settings and serves their task queues."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import structlog
import typer
from temporalio import activity
from temporalio.client import Client
from temporalio.common import MetricMeter, VersioningBehavior, WorkerDeploymentVersion
from temporalio.exceptions import ApplicationError
from temporalio.worker import (
    Interceptor,
    PollerBehaviorAutoscaling,
    UnsandboxedWorkflowRunner,
    Worker,
    WorkerDeploymentConfig,
)

from activities.catalogue import SERVICES
from activities.database import UNUSABLE, reason_of
from activities.delivery import DeliveringService
from activities.gateways import Gateway
from activities.mail import SmtpGateway
from activities.notification import NOTIFICATION
from activities.opening import CannotBeOpened, NotToBeUsed, Opening
from activities.service import Service
from activities.sms import WebhookGateway
from contracts.catalogue import OPERATIONS
from contracts.errors import Code
from contracts.order import WORKFLOWS_QUEUE
from recovery.lane import LaneWatch
from recovery.parked import watching_parked
from recovery.schedule import keep_sweeping
from recovery.sweep import Recovery
from runtime import connection, logs, web_ui
from runtime.attempts import LoggingInterceptor
from runtime.codec_server import CodecServer, web_ui_origins
from runtime.commandline import run
from runtime.connection import Unreachable
from runtime.embedded import EmbeddedServer, embedded_server
from runtime.events import EventBus
from runtime.faults import FaultInterceptor, random_faults, read_faults
from runtime.interceptors import interceptor_at
from runtime.readiness import until_answered, until_served
from runtime.relay import relaying
from runtime.seed import seed
from runtime.settings import Settings, SettingsError
from runtime.stopping import stop_of
from runtime.welcome import welcome
from temporal_saga import Operation, SagaPlugin, register_search_attributes
from workflows.batch import BatchWorkflow
from workflows.lane import LaneWorkflow
from workflows.order import OrderWorkflow
from workflows.participant import ParticipantWorkflow
from workflows.sweep import SweepWorkflow
from workflows.transaction import TransactionWorkflow

QUEUES = (WORKFLOWS_QUEUE, *SERVICES)
WORKFLOWS = [OrderWorkflow, BatchWorkflow, SweepWorkflow, TransactionWorkflow, LaneWorkflow]

_LEAVES_TRACES = [each.__name__ for each in (*WORKFLOWS, ParticipantWorkflow) if each is not SweepWorkflow]
"""Workflow types that use the services: where one of them has run, the databases are not new."""
POLLERS = PollerBehaviorAutoscaling(minimum=1, initial=2, maximum=20)
"""Pollers that grow with the load; a fixed number leaves a tail of seconds at 50 orders at once."""
_REMEMBERED = 500
"""Sagas that a worker keeps in memory, about a quarter of a MiB each; any other is replayed from its history. It is ten
times the sagas that one worker runs in a second, so that only those that wait for long are evicted."""
_DRAIN = timedelta(seconds=5)
"""Time that running activities have after SIGTERM: the timeout of an attempt. Another worker retries longer ones."""
_SEED_ATTEMPTS = 3
"""Attempts to seed a database; each waits as long as a transaction may take."""
GARBAGE_AFTER = 50_000
"""New objects between two runs of Python's garbage collector, instead of 700. A batch of five hundred requests makes
more than that, and all of them live until it ends; collecting took a quarter of a busy worker's time."""
WORKFLOW_RUNNER = UnsandboxedWorkflowRunner()
"""The sandbox costs as much CPU as the sagas themselves. Tests replay every recorded history in the sandbox, and so
catch a use of clocks, randomness or the network."""


def workflow_worker(
    client: Client,
    interceptors: Sequence[Interceptor] = (),
    version: WorkerDeploymentVersion | None = None,
    colocated: Sequence[Service] = (),
) -> Worker:
    """The worker of the workflows.

    With `version`, builds run side by side and a saga stays on the build that began it. A saga ends within seconds, so
    an old build runs for minutes more, and no change has to be compatible with a saga under way. The services in
    `colocated` serve local and eager activities within this process.
    """
    build = (
        WorkerDeploymentConfig(
            version, use_worker_versioning=True, default_versioning_behavior=VersioningBehavior.PINNED
        )
        if version
        else None
    )
    return Worker(
        client,
        task_queue=WORKFLOWS_QUEUE,
        workflows=WORKFLOWS,
        activities=[
            Recovery(client).sweep,
            LaneWatch(client).await_close,
            *_colocated_activities(colocated),
        ],
        workflow_runner=WORKFLOW_RUNNER,
        interceptors=interceptors,
        plugins=[SagaPlugin()],
        workflow_task_poller_behavior=POLLERS,
        max_cached_workflows=_REMEMBERED,
        graceful_shutdown_timeout=_DRAIN,
        deployment_config=build,
    )


def _colocated_activities(services: Sequence[Service]) -> list[Callable[..., Any]]:
    """The activities that a colocated saga calls in its own worker. The SDK wants every name to be registered, so an
    operation that is not served here fails at once; the saga then calls it over its task queue."""
    here = {service.definition.name for service in services}
    elsewhere = (_elsewhere(name) for name, operation in OPERATIONS.items() if operation.queue not in here)
    return [*(perform for service in services for perform in service.activities()), *elsewhere]


def _elsewhere(name: str) -> Callable[..., Any]:
    @activity.defn(name=name)
    async def perform(_: Any) -> Any:
        no_attempt = 0
        raise ApplicationError(f"{name} is served by another process", no_attempt, type=Code.SERVICE_UNAVAILABLE)

    return perform


def service_worker(client: Client, service: Service, interceptors: Sequence[Interceptor] = ()) -> Worker:
    """The worker of one service: its operations, which all builds share, and its part in choreographed orders."""
    return Worker(
        client,
        task_queue=service.definition.name,
        workflows=[ParticipantWorkflow],
        activities=[*service.activities(), *EventBus(client).activities(service.definition.name)],
        workflow_runner=WORKFLOW_RUNNER,
        interceptors=interceptors,
        plugins=[SagaPlugin()],
        workflow_task_poller_behavior=POLLERS,
        activity_task_poller_behavior=POLLERS,
        graceful_shutdown_timeout=_DRAIN,
    )


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
        services = await _open_services(stack, client, settings, queues, adopt=adopt)
        for service in services:
            await stack.enter_async_context(service_worker(client, service, interceptors))
        if WORKFLOWS_QUEUE in queues:
            build = settings.deployment_version
            await stack.enter_async_context(workflow_worker(client, interceptors, build, colocated=services))
            if settings.metrics_port or settings.otel_exporter_otlp_endpoint:
                await stack.enter_async_context(watching_parked(client, _meter_of(client)))
        if settings.events_url is not None:
            outboxes = {service.definition.name: service for service in services}
            await stack.enter_async_context(relaying(settings.events_url, outboxes, UNUSABLE))
        await until_served(client, queues)
        yield services


async def _open_services(
    stack: AsyncExitStack, client: Client, settings: Settings, queues: Sequence[str], *, adopt: bool
) -> list[Service]:
    opening = Opening(
        urls={name: settings.database_of(name) for name in SERVICES},
        temporal=await until_answered("the namespace's id", partial(connection.identity_of, client)),
        has_orders=partial(until_answered, "the number of orders", partial(connection.knows, client, _LEAVES_TRACES)),
        adopt=adopt,
    )
    try:
        databases = await opening.open(stack, [queue for queue in queues if queue in SERVICES])
    except NotToBeUsed as error:
        remedy = "see DATABASE_URL and TEMPORAL_*, or start once with --adopt-databases: docs/runbook.md"
        raise SettingsError(f"{error}; {remedy}") from error
    except CannotBeOpened as error:
        raise Unreachable(f"{error}; see DATABASE_URL") from error
    gateways, publishes = _gateways(settings), settings.events_url is not None
    meter = _meter_of(client)
    services = list[Service]()
    for name, database in databases.items():
        if name == NOTIFICATION.name and gateways:
            services.append(delivering := DeliveringService(database, gateways, publishes=publishes, meter=meter))
            stack.push_async_callback(delivering.close)
        else:
            services.append(Service(SERVICES[name], database, publishes=publishes, meter=meter))
    return services


def _meter_of(client: Client) -> MetricMeter:
    """Where the process counts what is of no workflow and no activity."""
    core = client.service_client.config.runtime
    return MetricMeter.noop if core is None else core.metric_meter


def _gateways(settings: Settings) -> list[Gateway]:
    """The gateways to the outside, in the order of their use; empty if messages are simulated."""
    gateways: list[Gateway] = []
    if settings.smtp_url is not None:
        gateways.append(SmtpGateway(settings.smtp_url))
    if settings.sms_webhook is not None:
        gateways.append(WebhookGateway(settings.sms_webhook))
    return gateways


async def _seed(services: Sequence[Service]) -> None:
    """Fill an empty system through the services of this process, because injected faults would fail activities."""
    by_name = {service.definition.name: service for service in services}

    async def execute(operation: Operation[Any, Any], request: Any) -> Any:
        for attempt in range(_SEED_ATTEMPTS):
            try:
                return await by_name[operation.queue].execute(operation, request)
            except UNUSABLE as error:
                if attempt + 1 == _SEED_ATTEMPTS:
                    raise Unreachable(f"{operation.queue} database: {reason_of(error)}; see DATABASE_URL") from error
        raise AssertionError(_SEED_ATTEMPTS)

    await seed(execute)


_OF_THE_SERVER = ("port", "ui_port", "data")
"""Options that mean nothing without an embedded server."""

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command()
def main(
    context: typer.Context,
    service: Annotated[
        list[str] | None, typer.Option(help=f"A queue to serve, repeatable: {', '.join(QUEUES)}.")
    ] = None,
    embedded: Annotated[bool, typer.Option("--embedded", help="Start the Temporal dev server and Web UI too.")] = False,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Of the embedded server.")] = 7233,
    ui_port: Annotated[int, typer.Option(min=1, max=65535, help="Of the embedded server's Web UI.")] = 8233,
    data: Annotated[Path, typer.Option(help="Where the embedded server keeps its state.")] = Path("data"),
    fault_rate: Annotated[float, typer.Option(min=0, max=1, help="The share of attempts that fail.")] = 0,
    fault_seed: Annotated[int, typer.Option(help="The same seed, the same faults.")] = 0,
    faults: Annotated[Path | None, typer.Option(help="A TOML file of faults; runtime/faults.py has its form.")] = None,
    adopt_databases: Annotated[
        bool, typer.Option("--adopt-databases", help="Take over databases of another Temporal; make lost ones anew.")
    ] = False,
    codec_port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Let the embedded server's Web UI decrypt, by a codec server.")
    ] = None,
    interceptor: Annotated[
        list[str] | None, typer.Option(help="A worker interceptor of your own, MODULE:CLASS, repeatable.")
    ] = None,
) -> None:
    """Serve the workflows and the services of the order saga until SIGTERM."""
    settings = Settings.read()
    logs.configure(settings.log_format)
    queues = tuple(dict.fromkeys(service or QUEUES))
    unknown = [queue for queue in queues if queue not in QUEUES]
    if unknown:
        raise SettingsError(f"--service {unknown[0]}: there are only {', '.join(QUEUES)}")
    if not embedded and (given := [name for name in _OF_THE_SERVER if _is_given(context, name)]):
        option = given[0].replace("_", "-")
        raise SettingsError(f"--{option}: goes with --embedded; TEMPORAL_ADDRESS names another server")
    injected = [*(read_faults(faults) if faults else []), *(random_faults(fault_rate) if fault_rate else [])]
    interceptors: list[Interceptor] = [LoggingInterceptor()]
    interceptors += [FaultInterceptor(injected, fault_seed)] if injected else []
    interceptors += [interceptor_at(where) for where in interceptor or ()]
    codec = None if codec_port is None else _codec_server(settings, codec_port, ui_port, embedded=embedded)
    system = _embedded_system(port=port, ui_port=ui_port, data=data, codec=codec) if embedded else None
    asyncio.run(_serve_until_stopped(settings, queues, interceptors, system, data, adopt=adopt_databases))


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _codec_server(settings: Settings, port: int, ui_port: int, *, embedded: bool) -> AbstractAsyncContextManager[str]:
    """The codec server of the embedded Web UI. Raises `SettingsError`."""
    if not embedded:
        raise SettingsError("--codec-port: goes with --embedded; for another server, run `python codec.py`")
    if settings.codec_token is not None:
        raise SettingsError("CODEC_TOKEN: the Web UI cannot send it; unset it, or leave out --codec-port")
    return CodecServer.of(settings, web_ui_origins(ui_port)).listening("127.0.0.1", port)


@asynccontextmanager
async def _embedded_system(
    *, port: int, ui_port: int, data: Path, codec: AbstractAsyncContextManager[str] | None
) -> AsyncIterator[EmbeddedServer]:
    async with (
        codec or nullcontext() as address,
        embedded_server(port=port, ui_port=ui_port, data=data, codec=address) as running,
    ):
        yield running


async def _serve_until_stopped(
    settings: Settings,
    queues: Sequence[str],
    interceptors: Sequence[Interceptor],
    server: AbstractAsyncContextManager[EmbeddedServer] | None,
    data: Path,
    *,
    adopt: bool,
) -> None:
    with stop_of(asyncio.current_task()) as stop:
        async with AsyncExitStack() as stack:
            running = await stack.enter_async_context(server) if server else None
            address = running.address if running else None
            client = await connection.open_client(settings, address=address, with_metrics=True)
            await until_answered("the namespace", partial(connection.require_namespace, client))
            if running:
                await until_answered("the namespace's data", partial(web_ui.keep_address, client, running.web_ui))
            elif WORKFLOWS_QUEUE in queues:
                # The embedded server is started with the search attributes.
                await until_answered("search attributes", partial(register_search_attributes, client))
            services = await stack.enter_async_context(serving(client, settings, queues, interceptors, adopt=adopt))
            if WORKFLOWS_QUEUE in queues:
                await until_answered("the sweep's schedule", partial(keep_sweeping, client))
            if running and set(queues) == set(QUEUES):
                await _seed(services)
            gc.freeze()  # the objects of the imports live for ever, so the collector may ignore them
            gc.set_threshold(GARBAGE_AFTER)
            where = f"Temporal at {client.service_client.config.target_host}"
            told = f", Web UI at {running.web_ui}" if running else ""
            print(f"ready: serving {', '.join(queues)}; {where}{told}", flush=True)  # noqa: T201
            if running and sys.stdout.isatty():
                print(welcome(running, data), flush=True)  # noqa: T201
            await stop.wait()
            structlog.get_logger("worker").info("draining")


if __name__ == "__main__":
    run(app)
