"""The waits of a worker at its start. While Temporal is busy, the worker logs that it waits; it does not give up."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import structlog
from temporalio.api.enums.v1 import TaskQueueType
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from runtime.pollers import pollers_of

Result = TypeVar("Result")

_log = structlog.stdlib.get_logger("worker")
_PAUSES_S = (0.05, 1.0)
"""The first and the longest pause between two tries; the pause doubles, so as not to load a busy server."""
SAY_EVERY_S = 10
_BUSY = (
    RPCStatusCode.UNAVAILABLE,
    RPCStatusCode.DEADLINE_EXCEEDED,
    RPCStatusCode.RESOURCE_EXHAUSTED,
    RPCStatusCode.ABORTED,
    RPCStatusCode.CANCELLED,
    RPCStatusCode.INTERNAL,
    RPCStatusCode.UNKNOWN,
)
"""The statuses of a server that is overloaded or starts. Waiting does not change any other status."""


async def until_served(client: Client, queues: Sequence[str]) -> None:
    """Wait until the server sees this process polling each of `queues`, for workflows and for activities."""
    missing = {
        (queue, kind)
        for queue in queues
        for kind in (TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW, TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY)
    }

    async def look() -> bool:
        for queue, kind in sorted(missing):
            if any(poller.identity == client.identity for poller in await pollers_of(client, queue, kind)):
                missing.discard((queue, kind))
        return not missing

    await _repeat_until(look, lambda: f"pollers of {', '.join(sorted({queue for queue, _ in missing}))}")


async def until_answered(what: str, call: Callable[[], Awaitable[Result]]) -> Result:
    """The result of `call`, which is repeated while the server is busy. Raises any other `RPCError`."""
    results: list[Result] = []

    async def attempt() -> bool:
        results.append(await call())
        return True

    await _repeat_until(attempt, lambda: what)
    return results[0]


async def _repeat_until(holds: Callable[[], Awaitable[bool]], what: Callable[[], str]) -> None:
    loop = asyncio.get_running_loop()
    pause, longest = _PAUSES_S
    began = logged = loop.time()
    busy: str | None = None
    while True:
        try:
            if await holds():
                return
            busy = None
        except RPCError as error:
            if error.status not in _BUSY:
                raise
            busy = error.message
        if (now := loop.time()) - logged >= SAY_EVERY_S:
            logged = now
            _log.warning("waiting", missing=what(), seconds=round(now - began), reason=busy)
        await asyncio.sleep(pause)
        pause = min(2 * pause, longest)
