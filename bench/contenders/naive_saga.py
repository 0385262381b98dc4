"""The order saga as the Temporal samples write one (temporal-learning, trip-booking-app): a list of compensations.

Regular activities one after the other, on one task queue, with the samples' timeout; imports passed through as there.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from bench.contenders.process import Step, farewell, steps
    from contracts.message import Request
    from contracts.order import Order
    from saga import Operation

_TIMEOUT = timedelta(seconds=10)


@workflow.defn
class NaiveOrder:
    @workflow.run
    async def run(self, document: dict[str, Any]) -> str:
        placed = Order.model_validate(document)
        compensations = [farewell(placed)]
        try:
            for step in steps(placed):
                if step.undo is not None:
                    compensations.append(Step(step.undo, step.request))
                await _execute(step.operation, step.request)
        except Exception:  # noqa: BLE001 — what the samples catch
            for compensation in reversed(compensations):
                await _execute(compensation.operation, compensation.request)
            return "ROLLED_BACK"
        return "CONFIRMED"


async def _execute(operation: Operation[Any, Any], request: Request) -> None:
    await workflow.execute_activity(operation.name, request, start_to_close_timeout=_TIMEOUT)
