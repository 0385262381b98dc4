"""Calls that run side by side, and what happens to the others when one of them fails."""

import asyncio
from collections.abc import Coroutine, Sequence
from datetime import timedelta
from typing import Any

from temporalio import workflow

from temporal_saga.progress import StepFailed
from temporal_saga.waiting import run_to_completion, until


async def run_group(calls: Sequence[Coroutine[Any, Any, Any]], settle: timedelta) -> list[Any]:
    """Run `calls` side by side and return their results in order.

    If one fails, the others get `settle` to end and are then cancelled; if the waiting task is cancelled, all are
    cancelled at once. Nothing of a group goes on beside its unwinding. A bug in one of them is raised before a failure
    of another.
    """
    tasks = [asyncio.create_task(call) for call in calls]
    try:
        return await asyncio.gather(*tasks)
    except (Exception, asyncio.CancelledError):
        await run_to_completion(_end_of(tasks, settle))
        bug = next(filter(None, map(_bug_in, tasks)), None)
        if bug is not None:
            raise bug  # noqa: B904 — the failure beside it is not its cause
        raise


async def _end_of(tasks: list[asyncio.Task[Any]], settle: timedelta) -> None:
    await until(
        lambda: all(task.done() for task in tasks), settle, "a call of the group has failed: the others may end"
    )
    late = [task for task in tasks if not task.done()]
    for task in late:
        task.cancel()
    if late:
        await workflow.wait(late)


def _bug_in(task: asyncio.Task[Any]) -> BaseException | None:
    """What `task` failed with, unless that is a failure for which a saga is rolled back."""
    error = None if task.cancelled() else task.exception()
    expected = isinstance(error, StepFailed) or (error is not None and workflow.is_failure_exception(error))
    return None if expected else error
