"""The Temporal workers: which workflows and activities each task queue has, and with which settings of the SDK."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from temporalio import activity
from temporalio.client import Client
from temporalio.common import VersioningBehavior, WorkerDeploymentVersion
from temporalio.exceptions import ApplicationError
from temporalio.worker import (
    Interceptor,
    PollerBehaviorAutoscaling,
    UnsandboxedWorkflowRunner,
    Worker,
    WorkerDeploymentConfig,
)

from activities.service import Service
from contracts.catalogue import OPERATIONS
from contracts.errors import Code
from contracts.order import WORKFLOWS_QUEUE
from recovery.lane import LaneWatch
from recovery.sweep import Recovery
from runtime.events import EventBus
from temporal_saga import SagaPlugin
from workflows.batch import BatchWorkflow
from workflows.lane import LaneWorkflow
from workflows.order import OrderWorkflow
from workflows.participant import ParticipantWorkflow
from workflows.sweep import SweepWorkflow
from workflows.transaction import TransactionWorkflow

WORKFLOWS = [OrderWorkflow, BatchWorkflow, SweepWorkflow, TransactionWorkflow, LaneWorkflow]
LEAVES_TRACES = [each.__name__ for each in (*WORKFLOWS, ParticipantWorkflow) if each is not SweepWorkflow]
"""Workflow types that use the services: where one of them has run, the databases are not new."""
POLLERS = PollerBehaviorAutoscaling(minimum=1, initial=2, maximum=20)
"""Pollers that grow with the load; a fixed number leaves a tail of seconds at 50 orders at once."""
_REMEMBERED = 500
"""Sagas that a worker keeps in memory, about a quarter of a MiB each; any other is replayed from its history. It is ten
times the sagas that one worker runs in a second, so that only those that wait for long are evicted."""
_DRAIN = timedelta(seconds=5)
"""Time that running activities have after SIGTERM: the timeout of an attempt. Another worker retries longer ones."""
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
