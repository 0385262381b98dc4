"""The embedded server and any number of workers as processes of their own, to be killed one by one.

The fleet restarts every worker that ends, for any reason, as Docker does with `restart: always`.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any, Self

from temporalio.client import Client

from contracts.ids import SCHEDULE_ID
from runtime.connection import connect
from runtime.embedded import embedded_server
from runtime.execute import execute
from runtime.seed import seed
from runtime.settings import Settings

from .command import Answer
from .system import ROOT, System

_RESTART_PAUSE_S = 0.5
"""Pause before a restart: a worker that cannot start without the server must not take the CPU that the server needs."""
_GRACE_S = 20
"""Time from SIGTERM to SIGKILL, as `stop_grace_period` in docker-compose.yml has it."""
_READY_S = 120
"""Limit on the start of several Python processes at once on a busy machine."""

Prepare = Callable[[str], Sequence[str]]
"""Returns the options of the worker of that name; called before each of its starts."""


class Fleet:
    """A server and the workers named `workers`; `options` is called for the options of each start."""

    def __init__(self, system: System, workers: Sequence[str], options: Prepare) -> None:
        self.system = system
        self.workers = tuple(workers)
        self.worker_environment: Mapping[str, str] = {}
        """Variables that the workers see in place of those of the commands."""
        self.starts = 0
        self._options = options
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self._keepers: dict[str, asyncio.Task[None]] = {}
        self._ready = {name: asyncio.Event() for name in workers}
        self._server = AsyncExitStack()
        self._server_pid: int | None = None

    async def __aenter__(self) -> Self:
        await self.start_server()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop_workers()
        await self._server.aclose()

    async def start_server(self) -> None:
        self._server = AsyncExitStack()
        system = self.system
        server = embedded_server(port=system.port, ui_port=system.ui_port, data=system.folder)
        self._server_pid = (await self._server.enter_async_context(server)).pid

    async def kill_server(self) -> None:
        assert self._server_pid is not None
        os.kill(self._server_pid, signal.SIGKILL)
        await self._server.aclose()

    async def start_workers(self) -> None:
        """Start all workers at once, and wait until each is ready."""
        for name in self.workers:
            self._keepers[name] = asyncio.create_task(self._keep_up(name))
        await self.ready()

    async def ready(self) -> None:
        async with asyncio.timeout(_READY_S):
            await asyncio.gather(*(ready.wait() for ready in self._ready.values()))

    async def stop_workers(self) -> None:
        """Kill all workers, without restart."""
        keepers = list(self._keepers.values())
        self._keepers.clear()
        for keeper in keepers:
            keeper.cancel()
        await asyncio.gather(*keepers, return_exceptions=True)
        for name in self.workers:
            self.signal(name, signal.SIGKILL)
        await asyncio.gather(*(process.wait() for process in self._processes.values()))

    async def restart(self, worker: str) -> int:
        """Stop a worker as an upgrade does, and wait until it is ready again; the exit code of the stopped one."""
        process = self._processes[worker]
        self._ready[worker].clear()
        process.terminate()
        try:
            code = await asyncio.wait_for(process.wait(), _GRACE_S)
        except TimeoutError:
            process.kill()
            code = await process.wait()
        async with asyncio.timeout(_READY_S):
            await self._ready[worker].wait()
        return code

    def signal(self, worker: str, number: signal.Signals) -> bool:
        """Send the signal; whether that worker was running."""
        process = self._processes.get(worker)
        if process is None or process.returncode is not None:
            return False
        with suppress(ProcessLookupError):
            process.send_signal(number)
        return True

    async def _keep_up(self, name: str) -> None:
        while True:
            process = await self._spawn(name)
            assert process.stdout is not None
            if (await process.stdout.readline()).startswith(b"ready"):
                self._ready[name].set()
            await process.wait()
            self._ready[name].clear()
            await asyncio.sleep(_RESTART_PAUSE_S)

    async def _spawn(self, name: str) -> asyncio.subprocess.Process:
        command = [sys.executable, "worker.py", *self._options(name)]
        environment = {**self.system.environment, **self.worker_environment}
        with (self.system.folder / f"{name}.log").open("ab") as log:
            log.write(b"\n")  # the last line of a killed process may have no end
            self._processes[name] = await asyncio.create_subprocess_exec(
                *command, cwd=ROOT, env=environment, stdout=asyncio.subprocess.PIPE, stderr=log
            )
        self.starts += 1
        return self._processes[name]

    async def run(self, *arguments: str, stdin: str = "", **environment: str) -> Answer:
        """Run `python starter.py …` to its end while the fleet runs."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(ROOT / "starter.py"),
            *arguments,
            cwd=self.system.folder,
            env=self.system.environment | environment,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            out, err = await process.communicate(stdin.encode())
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return Answer(process.returncode or 0, out.decode(), err.decode())

    async def client(self) -> Client:
        return await Client.connect(f"127.0.0.1:{self.system.port}")

    async def fill_the_shelves(self) -> None:
        await seed(partial(execute, await connect(Settings(), address=f"127.0.0.1:{self.system.port}")))

    async def pause_the_sweep(self) -> None:
        """Pause the schedule, for tests that sweep themselves."""
        await (await self.client()).get_schedule_handle(SCHEDULE_ID).pause()

    def log_lines(self, *workers: str) -> Iterator[dict[str, Any]]:
        """The log lines of the workers, one worker after the other."""
        for name in workers or self.workers:
            yield from self.lines_of(self.system.folder / f"{name}.log")

    @staticmethod
    def lines_of(log: Path) -> Iterator[dict[str, Any]]:
        """The JSON lines of a log, in order, without lines that a kill cut off."""
        for line in log.read_text().splitlines() if log.exists() else ():
            with suppress(json.JSONDecodeError):
                if line.startswith("{"):
                    yield json.loads(line)
