"""How a signal ends a worker: the one that starts, at once; the one that serves, after it has drained."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager


class Stop:
    """Set by SIGTERM and SIGINT."""

    def __init__(self, starting: asyncio.Task[None]) -> None:
        self._starting: asyncio.Task[None] | None = starting
        self._asked = asyncio.Event()

    def request(self) -> None:
        if self._starting is not None and not self._asked.is_set():
            self._starting.cancel()
        self._asked.set()

    @property
    def cut_the_start(self) -> bool:
        return self._starting is not None and self._asked.is_set()

    async def wait(self) -> None:
        """The start is over: return when the worker is asked to stop."""
        self._starting = None
        await self._asked.wait()


@contextmanager
def stop_of(task: asyncio.Task[None] | None) -> Iterator[Stop]:
    """Until `wait` is called, a signal cancels `task`, which runs the block and may be in a wait without an end."""
    if task is None:
        raise RuntimeError("outside a task nothing can be cut")
    stop = Stop(task)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.request)
    try:
        yield stop
    except asyncio.CancelledError:
        if not stop.cut_the_start:
            raise
