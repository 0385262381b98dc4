"""Waits that Temporal's cancellation of the workflow does not end."""

import asyncio
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any, TypeVar

from temporalio import workflow

T = TypeVar("T")


async def until(holds: Callable[[], bool], at_most: timedelta | None = None, summary: str | None = None) -> bool:
    """Wait until `holds()`; false if `at_most` is over first. Raises `CancelledError` only in a cancelled task.

    `summary` is what the Web UI shows in place of the number of the timer.

    When the workflow is cancelled, `workflow.wait_condition` also raises it in all other tasks, in histories that
    temporalio 1.36.0 has begun (workflow logic flag 2). That would end a rollback.
    """
    try:
        await workflow.wait_condition(holds, timeout=at_most, timeout_summary=summary)
    except TimeoutError:
        return False
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        return holds()
    return True


async def run_to_completion(work: Coroutine[Any, Any, T], on_cancel: Callable[[str], None] | None = None) -> T:
    """Wait for `work` to end, also when the waiting task is cancelled. Raises only what `work` raises.

    `on_cancel` gets the reason each time Temporal cancels the workflow before `work` has ended.
    """
    task = asyncio.create_task(work)
    while not task.done():
        try:
            await workflow.wait([task])
        except asyncio.CancelledError:
            reason = workflow.cancellation_reason()
            if on_cancel is not None and reason is not None and not task.done():
                on_cancel(reason or "the workflow was cancelled")
    return task.result()
