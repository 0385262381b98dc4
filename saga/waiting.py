"""Waiting for a condition in a task of its own, whatever is asked of the workflow meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta

from temporalio import workflow


async def until(holds: Callable[[], bool], at_most: timedelta | None = None) -> bool:
    """Wait until `holds()`; false if `at_most` was over first. Only a task that is itself cancelled is interrupted.

    `workflow.wait_condition` also interrupts the tasks that nobody has cancelled, when the workflow is, in histories
    that temporalio 1.36.0 has begun (workflow logic flag 2): it would end an unwinding.
    """
    try:
        await workflow.wait_condition(holds, timeout=at_most)
    except TimeoutError:
        return False
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        return holds()
    return True
