"""The sweep as a workflow, which a schedule starts."""

from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RetryPolicy

from contracts import recovery
from contracts.recovery import SweepOrders

_TIMEOUT = timedelta(minutes=10)
"""Enough for thousands of orders after an outage; the next sweep takes the rest."""


@workflow.defn
class SweepWorkflow:
    @workflow.run
    async def run(self) -> Any:
        """Return the sweep's result as it is: a `Swept`, perhaps of another build."""
        return await workflow.execute_activity(
            recovery.sweep.name,
            SweepOrders(),
            task_queue=recovery.sweep.queue,
            start_to_close_timeout=_TIMEOUT,
            retry_policy=RetryPolicy(maximum_attempts=3),
        )
