"""What a worker waits for at its start. A busy Temporal is a reason to wait and to say so, not to give up."""

from __future__ import annotations

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
_LOOK_EVERY_S = (0.05, 1.0)
"""The pause between two looks at first, and when it has doubled often enough: a busy server is not asked more often."""
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
"""What a server says that is overloaded or starts again. Anything else is an answer, and waiting does not change it."""


async def until_served(client: Client, queues: Sequence[str]) -> None:
    """Return when the server sees this process polling every one of `queues`, for everything that is on it."""
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

    await _insist(look, lambda: f"pollers of {', '.join(sorted({queue for queue, _ in missing}))}")


async def until_answered(what: str, call: Callable[[], Awaitable[Result]]) -> Result:
    """The result of `call`, which is safe to repeat. Raises the `RPCError` that waiting does not change."""
    results: list[Result] = []

    async def attempt() -> bool:
        results.append(await call())
        return True

    await _insist(attempt, lambda: what)
    return results[0]


async def _insist(holds: Callable[[], Awaitable[bool]], what: Callable[[], str]) -> None:
    loop = asyncio.get_running_loop()
    pause, longest = _LOOK_EVERY_S
    began = said = loop.time()
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
        if (now := loop.time()) - said >= SAY_EVERY_S:
            said = now
            _log.warning("waiting", missing=what(), seconds=round(now - began), reason=busy)
        await asyncio.sleep(pause)
        pause = min(2 * pause, longest)
