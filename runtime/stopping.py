"""The end of a worker by a signal: a worker that is still starting stops at once, one that serves drains first."""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager


class Stop:
    """The request to stop, which SIGTERM and SIGINT make."""

    def __init__(self, starting: asyncio.Task[None]) -> None:
        self._starting: asyncio.Task[None] | None = starting
        self._requested = asyncio.Event()

    def request(self) -> None:
        if self._starting is not None and not self._requested.is_set():
            self._starting.cancel()
        self._requested.set()

    @property
    def cut_the_start(self) -> bool:
        return self._starting is not None and self._requested.is_set()

    async def wait(self) -> None:
        """End the start, and wait for the request to stop."""
        self._starting = None
        await self._requested.wait()


@contextmanager
def stop_of(task: asyncio.Task[None] | None) -> Iterator[Stop]:
    """Let signals stop `task`, which runs the block: they cancel it during its start, and later end `Stop.wait`."""
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
