"""Starting the programs that are measured, and ending them: each with a folder, ports and settings of its own."""

import asyncio
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from runtime.settings import Settings

ROOT = Path(__file__).parents[1]
READY_TIMEOUT_S = 60
"""A server, its schema, five databases and a worker: four seconds, on a loaded machine several times that."""
_STOP_TIMEOUT_S = 30


class BenchFailed(Exception):
    """A program that is measured did not do what it should: there is no figure to report."""


class Program:
    """A program that serves until it is told to stop: it has said that it is ready, its stderr is in a file."""

    def __init__(self, command: Sequence[str], environment: dict[str, str], log: Path) -> None:
        self._command = command
        self._log = log
        with log.open("ab") as stderr:
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        self.ready_line = ""

    def __enter__(self) -> Self:
        try:
            self.ready_line = self.read_line(READY_TIMEOUT_S)
        except BenchFailed:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, line: str, timeout_s: float) -> str:
        """Write a line to its stdin and wait for one on its stdout."""
        assert self._process.stdin is not None  # noqa: S101 — for mypy: it is a pipe
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return self.read_line(timeout_s)

    def read_line(self, timeout_s: float) -> str:
        assert self._process.stdout is not None  # noqa: S101 — for mypy: it is a pipe
        alarm = threading.Timer(timeout_s, self._process.kill)
        alarm.start()
        line = self._process.stdout.readline()
        alarm.cancel()
        if not line:
            raise BenchFailed(f"{' '.join(self._command)}: no answer; see {self._log}:\n{_tail(self._log)}")
        return line.strip()

    def stop(self) -> None:
        """Our own programs end with their stdin, `worker.py` by SIGTERM."""
        assert self._process.stdin is not None  # noqa: S101 — for mypy: it is a pipe
        self._process.stdin.close()
        if "worker.py" in self._command:
            self._process.terminate()
        try:
            self._process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def run(command: Sequence[str], environment: dict[str, str], log: Path, timeout_s: float) -> tuple[str, float]:
    """Run a program to its end: its stdout, and the seconds of processor time it took."""
    before = _reaped_s()
    with log.open("ab") as stderr:
        try:
            done = subprocess.run(
                command,
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise BenchFailed(f"{' '.join(command)}: not done after {timeout_s:.0f} s") from None
    if done.returncode != 0:
        raise BenchFailed(f"{' '.join(command)}: exit code {done.returncode}; {log}:\n{_tail(log)}{done.stdout[-500:]}")
    return done.stdout, _reaped_s() - before


def _reaped_s() -> float:
    """What the children we have waited for took; the programs that go on are not among them."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-1500:]


@contextmanager
def running(command: Sequence[str], **settings: str) -> Iterator[None]:
    """In a program: run a contender's own server, with `settings` in its environment, for the time of the block."""
    server = subprocess.Popen(command, env=os.environ | settings, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        server.terminate()
        server.wait(_STOP_TIMEOUT_S)


def restate_server() -> Path | None:
    """The server that npm installed for this machine, if it did."""
    return next(iter(ROOT.glob("bench/restate/node_modules/@restatedev/restate-server-*/bin/restate-server")), None)


def environment_of(folder: Path, address: str) -> dict[str, str]:
    """The environment of every program: databases in `folder`, Temporal at `address`, no other setting of a user."""
    ours = {name.upper() for name in Settings.model_fields}
    kept = {name: value for name, value in os.environ.items() if name not in ours and not name.startswith("TEMPORAL_")}
    url = f"sqlite+aiosqlite:///{folder}/{{service}}.db"
    return kept | {"DATABASE_URL": url, "TEMPORAL_ADDRESS": address}


async def until_stopped(ready: str) -> None:
    """In a program: say that it is ready, and wait for the end of stdin. It comes even if the benchmark is killed."""
    print(ready, flush=True)
    await asyncio.to_thread(sys.stdin.read)
