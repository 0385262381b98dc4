"""The sweep as a workflow, which a schedule starts."""

from typing import Any

from temporalio import workflow
from temporalio.common import RetryPolicy

from contracts import recovery
from contracts.recovery import SweepOrders


@workflow.defn
class SweepWorkflow:
    @workflow.run
    async def run(self) -> Any:
        """Return the sweep's result as it is: a `Swept`, perhaps of another build."""
        return await workflow.execute_activity(
            recovery.sweep.name,
            SweepOrders(),
            task_queue=recovery.sweep.queue,
            start_to_close_timeout=recovery.TIMEOUT,
            heartbeat_timeout=recovery.HEARTBEAT_TIMEOUT,
            retry_policy=RetryPolicy(maximum_attempts=3),
        )
