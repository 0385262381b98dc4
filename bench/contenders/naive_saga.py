"""The order saga as the Temporal samples write one (temporal-learning, trip-booking-app): a list of compensations.

Regular activities one after the other, on one task queue, with the samples' timeout; imports passed through as there.
"""

from datetime import timedelta
from typing import Any

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from bench.contenders.process import Step, run_saga
    from contracts.order import Order

_TIMEOUT = timedelta(seconds=10)


@workflow.defn
class NaiveOrder:
    @workflow.run
    async def run(self, document: dict[str, Any]) -> str:
        return await run_saga(Order.model_validate(document), _execute, Exception)  # what the samples catch


async def _execute(step: Step) -> None:
    await workflow.execute_activity(step.operation.name, step.request, start_to_close_timeout=_TIMEOUT)
