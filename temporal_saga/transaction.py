"""A transaction as a list of steps, each with its commit, its rollback, an input and a timeout.

It serves a client that has a list of steps instead of a process. The list runs on a `Saga`, with all its guarantees.

    async with Saga("t-1") as saga:
        await run_in_order(saga, [
            Step(commit=Bank.withdraw, rollback=Bank.put_back, input=ten_euros, timeout=timedelta(seconds=5)),
            Step(commit=Bank.deposit, rollback=Bank.take_back, input=ten_euros, timeout=timedelta(seconds=5)),
        ])
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from temporal_saga.kernel import Saga
from temporal_saga.operation import Call, Operation, UndoCall
from temporal_saga.plan import Plan
from temporal_saga.progress import StepFailed


@dataclass(frozen=True)
class Step:
    """`timeout` bounds the commit with its retries and the wait for a worker, and each round of the rollback.

    Both take `input` and must be idempotent. `queue` is the task queue of the activities, by default the workflow's.
    """

    commit: Call[Any, Any]
    rollback: UndoCall[Any] | None
    input: Any
    timeout: timedelta
    name: str | None = None
    queue: str | None = None


async def run_in_order(saga: Saga | Plan, steps: Sequence[Step], *, resumed: bool = False) -> list[Any]:
    """Run `steps` one after the other and return their replies; a failing step rolls `saga` back.

    A step without a rollback cannot be undone, so it decides: it is repeated until its answer is known (`Saga.pivot`).
    Only steps without a rollback may follow, each repeated until it is done (`Saga.finish`).

    `resumed`: an earlier execution may have done any of the steps. All of them run again, which repeats no effect, and
    all of them are undone if one is refused. If a step decides, each step before it is repeated until it is done or
    refused: an unknown outcome does not tell whether the earlier execution has decided (`Saga.foresee`).
    """
    if isinstance(saga, Saga):
        saga.foresee(lambda plan: run_in_order(plan, steps), resumed=resumed)
    replies = []
    decided = False
    for step in steps:
        commit = _called(step.commit, step, Operation.of)
        try:
            if step.rollback is not None:
                undo = _called(step.rollback, step, Operation.undo_of)
                reply = await saga.step(commit, step.input, undo=undo, within=step.timeout, name=step.name)
            elif not decided:
                reply = await saga.pivot(commit, step.input, within=step.timeout, name=step.name)
                decided = True
            else:
                reply = await saga.finish(commit, step.input, within=step.timeout, name=step.name)
        except StepFailed as failed:
            if step.name is None:
                raise
            told = f"step {step.name}: {failed.failure.message}"
            raise StepFailed(replace(failed.failure, message=told)) from failed
        replies.append(reply)
    return replies


def _called(call: Any, step: Step, declared: Callable[..., Operation[Any, Any]]) -> Operation[Any, Any]:
    operation = declared(call, queue=step.queue or "")
    return operation if isinstance(call, Operation) else replace(operation, request=type(step.input))
