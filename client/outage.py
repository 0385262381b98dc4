"""How long a client outlives a Temporal that does not answer: it may be restarting, and orders are under way."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from temporalio.service import RPCError, RPCStatusCode

from runtime import logs

_OUTAGE_S = 120
_PAUSE_S = 1
"""Between two tries; the SDK has tried each call for ten seconds already."""
_OUTAGE = (
    RPCStatusCode.UNAVAILABLE,
    RPCStatusCode.DEADLINE_EXCEEDED,
    RPCStatusCode.CANCELLED,  # also the SDK's own word for a call that timed out
    RPCStatusCode.INTERNAL,
    RPCStatusCode.UNKNOWN,  # a connection that was cut
    RPCStatusCode.RESOURCE_EXHAUSTED,
)
T = TypeVar("T")


class OutageBudget:
    """The seconds that one client waits for Temporal, over all its orders: an outage meets all of them at once."""

    def __init__(self, seconds: float = _OUTAGE_S) -> None:
        self._seconds = seconds
        self._silent_since: float | None = None

    def answered(self) -> None:
        """Begin the budget anew: Temporal has answered."""
        self._silent_since = None

    def allows_retry(self, error: RPCError) -> bool:
        """Whether to try again after `error`."""
        if self._silent_since is None:
            self._silent_since = time.monotonic()
            logs.CORE.warning("%s", error.message)
        return error.status in _OUTAGE and time.monotonic() - self._silent_since < self._seconds

    async def retried(self, work: Callable[[], Awaitable[T]]) -> T:
        """The result of `work`, which is repeated as long as Temporal does not answer: it must be idempotent.

        Raises what `work` raises, and `RPCError` when the budget is spent.
        """
        while True:
            try:
                return await work()
            except RPCError as error:
                if not self.allows_retry(error):
                    raise
            await asyncio.sleep(_PAUSE_S)
