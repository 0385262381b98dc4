"""The composition root: builds the services from the settings and serves their task queues."""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import structlog
import typer
from temporalio import activity
from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client
from temporalio.common import VersioningBehavior, WorkerDeploymentVersion
from temporalio.exceptions import ApplicationError
from temporalio.worker import (
    Interceptor,
    PollerBehaviorAutoscaling,
    UnsandboxedWorkflowRunner,
    Worker,
    WorkerDeploymentConfig,
    WorkflowRunner,
)

from activities.catalogue import SERVICES
from activities.database import UNUSABLE, migrate, reason_of
from activities.database import connect as connect_database
from activities.service import Service
from contracts.catalogue import OPERATIONS
from contracts.errors import Code
from contracts.order import WORKFLOWS_QUEUE
from recovery.lane import LaneWatch
from recovery.schedule import keep_sweeping
from recovery.sweep import Recovery
from runtime import connection, logs
from runtime.commandline import run
from runtime.connection import Unreachable
from runtime.embedded import EmbeddedServer, embedded_server
from runtime.events import EventBus
from runtime.faults import FaultInterceptor, random_faults, read_faults
from runtime.seed import seed
from runtime.settings import Settings, SettingsError
from saga import TakeoverInterceptor
from workflows.batch import BatchWorkflow
from workflows.lane import LaneWorkflow
from workflows.order import OrderWorkflow
from workflows.participant import ParticipantWorkflow
from workflows.sweep import SweepWorkflow
from workflows.transaction import TransactionWorkflow

QUEUES = (WORKFLOWS_QUEUE, *SERVICES)
WORKFLOWS = [OrderWorkflow, BatchWorkflow, SweepWorkflow, TransactionWorkflow, LaneWorkflow]

_POLLERS = PollerBehaviorAutoscaling(minimum=1, initial=2, maximum=20)
"""A fixed number of pollers leaves a tail of seconds at 50 orders at once; these grow with the load."""
_REMEMBERED = 500
"""Sagas that a worker keeps in memory, about a quarter of a MiB each; any other is replayed from its history when it
goes on. Ten times what one worker has under way in a second, so that only those that wait for long are forgotten."""
_DRAIN = timedelta(seconds=5)
"""What SIGTERM leaves running activities: an attempt's timeout. Longer ones are retried by another worker."""
_READY_TIMEOUT_S = 15
_GARBAGE_AFTER = 50_000
"""New objects before Python looks for cycles among them, instead of 700: a list of five hundred requests makes more
than that, and all of them live until it is answered. Looking took a quarter of a busy worker's time."""


def workflow_runner() -> WorkflowRunner:
    """Without the sandbox, which costs as much CPU as the sagas themselves. What it would catch, our own use of clocks,
    chance or the network, is caught before: tests replay every recorded history in the sandbox too."""
    return UnsandboxedWorkflowRunner()


def workflow_worker(
    client: Client,
    interceptors: Sequence[Interceptor] = (),
    version: WorkerDeploymentVersion | None = None,
    colocated: Sequence[Service] = (),
) -> Worker:
    """A worker of the processes; one that is a `version` beside others if that is given.

    `colocated` services of this process answer the sagas that ask here first.

    A saga is pinned to the build that began it: it is over in seconds, so builds run side by side for minutes, and no
    change has to be compatible with a saga under way.
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
            *_here_first(colocated),
        ],
        workflow_runner=workflow_runner(),
        interceptors=[TakeoverInterceptor(), *interceptors],
        workflow_task_poller_behavior=_POLLERS,
        max_cached_workflows=_REMEMBERED,
        graceful_shutdown_timeout=_DRAIN,
        deployment_config=build,
    )


def _here_first(services: Sequence[Service]) -> list[Callable[..., Any]]:
    """What a colocated saga asks its own worker for. The SDK needs every name to be known in every worker of the
    workflow: an operation that is not served here fails at once, and is asked over its queue."""
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
    """Serves a service's operations, of which an activity replays nothing and which all builds share, and its part in
    choreographed orders."""
    return Worker(
        client,
        task_queue=service.definition.name,
        workflows=[ParticipantWorkflow],
        activities=[*service.activities(), *EventBus(client).activities(service.definition.name)],
        workflow_runner=workflow_runner(),
        interceptors=interceptors,
        workflow_task_poller_behavior=_POLLERS,
        activity_task_poller_behavior=_POLLERS,
        graceful_shutdown_timeout=_DRAIN,
    )


@asynccontextmanager
async def serving(
    client: Client, settings: Settings, queues: Sequence[str] = QUEUES, interceptors: Sequence[Interceptor] = ()
) -> AsyncIterator[None]:
    """Serve `queues` until the block is left: schemas are at their newest version and every poller runs inside it."""
    async with AsyncExitStack() as stack:
        services = []
        for queue in queues:
            if queue == WORKFLOWS_QUEUE:
                continue
            definition = SERVICES[queue]
            database = connect_database(settings.database_of(queue))
            stack.push_async_callback(database.dispose)
            try:
                await migrate(database, queue)
            except UNUSABLE as error:
                raise Unreachable(f"{queue} database: {reason_of(error)}; see DATABASE_URL") from error
            services.append(Service(definition, database))
            await stack.enter_async_context(service_worker(client, services[-1], interceptors))
        if WORKFLOWS_QUEUE in queues:
            build = settings.deployment_version
            await stack.enter_async_context(workflow_worker(client, interceptors, build, colocated=services))
        try:
            async with asyncio.timeout(_READY_TIMEOUT_S):
                await asyncio.gather(*(_polled(client, queue) for queue in queues))
        except TimeoutError as error:
            raise Unreachable(f"Temporal does not see the pollers after {_READY_TIMEOUT_S} s") from error
        yield


async def _polled(client: Client, queue: str) -> None:
    """Wait until the server sees this process polling `queue`, for everything that is on it."""
    for kind in (TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW, TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY):
        request = DescribeTaskQueueRequest(
            namespace=client.namespace, task_queue=TaskQueue(name=queue), task_queue_type=kind
        )
        while True:
            seen = await client.workflow_service.describe_task_queue(request)
            if any(poller.identity == client.identity for poller in seen.pollers):
                break
            await asyncio.sleep(0.05)


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
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
) -> None:
    """Serve the workflows and the services of the order saga until SIGTERM."""
    settings = Settings.read()
    logs.configure(settings.log_format)
    queues = tuple(dict.fromkeys(service or QUEUES))
    unknown = [queue for queue in queues if queue not in QUEUES]
    if unknown:
        raise SettingsError(f"--service {unknown[0]}: there are only {', '.join(QUEUES)}")
    injected = [*(read_faults(faults) if faults else []), *(random_faults(fault_rate) if fault_rate else [])]
    interceptors: list[Interceptor] = [logs.LoggingInterceptor(), FaultInterceptor(injected, fault_seed)]
    server = embedded_server(port=port, ui_port=ui_port, data=data) if embedded else None
    asyncio.run(_serve_until_stopped(settings, queues, interceptors, server))


async def _serve_until_stopped(
    settings: Settings,
    queues: Sequence[str],
    interceptors: Sequence[Interceptor],
    server: AbstractAsyncContextManager[EmbeddedServer] | None,
) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        running = await stack.enter_async_context(server) if server else None
        client = await connection.connect(settings, address=running.address if running else None, with_metrics=True)
        if running is None and WORKFLOWS_QUEUE in queues:
            await connection.register_search_attributes(client)  # the embedded server was started with them
        await stack.enter_async_context(serving(client, settings, queues, interceptors))
        if WORKFLOWS_QUEUE in queues:
            await keep_sweeping(client)
        if running and set(queues) == set(QUEUES):
            await seed(client)
        gc.freeze()  # what is loaded by now stays: nobody need look through it again
        gc.set_threshold(_GARBAGE_AFTER)
        where = f"Temporal at {client.service_client.config.target_host}"
        web_ui = f", Web UI at {running.web_ui}" if running else ""
        print(f"ready: serving {', '.join(queues)}; {where}{web_ui}", flush=True)  # noqa: T201
        await stop.wait()
        structlog.get_logger("worker").info("draining")


if __name__ == "__main__":
    run(app)
