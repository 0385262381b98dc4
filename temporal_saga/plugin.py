"""What clients, workers and replayers of sagas need, as one plugin."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

from temporalio.plugin import SimplePlugin
from temporalio.worker import Worker, WorkflowRunner
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from temporal_saga.failover import FailoverInterceptor
from temporal_saga.visibility import look_for_search_attributes

_PACKAGE = "temporal_saga"


class SagaPlugin(SimplePlugin):
    """Plugin for every worker and replayer of sagas: `Worker(..., plugins=[SagaPlugin()])`.

    It looks for the search attributes (`visibility`), adds the interceptor that colocated sagas need (`failover`), and
    passes this package through the sandbox: otherwise each workflow would import it anew, which takes more CPU than a
    saga of three steps. Given to `Client.connect`, it is in all workers of that client.

    Any payload converter will do: the SDK's default reads and writes all that this package sends.
    """

    def __init__(self) -> None:
        super().__init__(_PACKAGE, interceptors=[FailoverInterceptor()], workflow_runner=_passing_through)

    async def run_worker(self, worker: Worker, next: Callable[[Worker], Awaitable[None]]) -> None:  # noqa: A002 — the SDK's name
        """Look for the search attributes, and run the worker."""
        await look_for_search_attributes(worker.client)
        await super().run_worker(worker, next)


def _passing_through(runner: WorkflowRunner | None) -> WorkflowRunner:
    if runner is None:
        runner = SandboxedWorkflowRunner()
    if not isinstance(runner, SandboxedWorkflowRunner):
        return runner
    return replace(runner, restrictions=runner.restrictions.with_passthrough_modules(_PACKAGE))
