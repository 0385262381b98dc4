"""`python starter.py …` and `python worker.py …`, forked from a process that has imported both.

Each is a process of its own, as a user's is, but saves the second of CPU that the imports take.
"""

import json
import multiprocessing
import os
import runpy
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import IO, Any

from starter import COMMANDS

from ..eventually import eventually

_ROOT = Path(__file__).parents[2]
_TIMEOUT_S = 100
_READY_TIMEOUT_S = 60
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["starter", "worker", *{where.partition(":")[0] for where, _ in COMMANDS.values()}])


@dataclass(frozen=True)
class Answer:
    """The result of a command: its exit code, stdout and stderr."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """Stdout as the one JSON document it must be."""
        return json.loads(self.out)


class Program:
    """A script of the project that runs in a process of its own; its output is kept in files without a name."""

    def __init__(
        self,
        words: Sequence[str],
        folder: Path,
        environment: Mapping[str, str],
        stdin: str | bytes = b"",
        log: Path | None = None,
    ) -> None:
        """Start `words`, the script and its arguments, in `folder`. Stderr is appended to `log`, if there is one."""
        self._out: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 — read for as long as the program is of interest
        self._err: IO[bytes] = log.open("a+b") if log else tempfile.TemporaryFile()  # noqa: SIM115 — as its stdout
        with tempfile.TemporaryFile() as given:
            given.write(stdin.encode() if isinstance(stdin, str) else stdin)
            given.seek(0)
            streams = [_Inherited(stream) for stream in (given, self._out, self._err)]
            # A daemon is ended with the tests: a worker does not outlive a test that failed.
            self._process: ForkServerProcess = _FORKS.Process(
                target=_become, args=(words, streams, folder, environment), daemon=True
            )
            self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process.is_alive()

    @property
    def out(self) -> str:
        """What the program has written to stdout by now."""
        return _content(self._out)

    @property
    def err(self) -> str:
        """What the program, and earlier ones with the same log, have written to stderr by now."""
        return _content(self._err)

    def until_ready(self) -> str:
        """Wait for the line `ready` of a worker and return it; `AssertionError` if the worker ends before."""
        eventually(lambda: "\n" in self.out or not self.is_running, "the worker is ready", timeout_s=_READY_TIMEOUT_S)
        assert self.out.startswith("ready"), self.err[-2000:]
        return self.out

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send the signal, unless the program has ended, and wait for its end; its exit code."""
        if self.is_running:
            os.kill(self.pid, number)
        return self.wait()

    def wait(self, timeout_s: float = _TIMEOUT_S) -> int:
        """Wait for the end; the exit code, negative after a signal. On `TimeoutError` the program is killed."""
        self._process.join(timeout_s)
        if self._process.exitcode is None:
            self._process.kill()
            raise TimeoutError(f"not ended after {timeout_s:g} s: {self.err[-2000:]}")
        return self._process.exitcode

    def answer(self) -> Answer:
        """Wait for the end of a command; its result."""
        with self._out, self._err:
            return Answer(self.wait(), self.out, self.err)


def run(arguments: Sequence[str], stdin: str | bytes, folder: Path, environment: Mapping[str, str]) -> Answer:
    """Run `python starter.py …` to its end, in `folder`."""
    return Program(["starter.py", *arguments], folder, environment, stdin).answer()


class _Inherited:
    """An open file that can be pickled for a child process, where `descriptor` is the child's own."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.descriptor = stream.fileno()

    def __getstate__(self) -> Any:
        return DupFd(self.descriptor)

    def __setstate__(self, inherited: Any) -> None:
        self.descriptor = inherited.detach()


def _content(stream: IO[bytes]) -> str:
    """Read the whole file without moving the position, which the process shares."""
    return os.pread(stream.fileno(), os.fstat(stream.fileno()).st_size, 0).decode()


def _become(words: Sequence[str], streams: Sequence[_Inherited], folder: Path, environment: Mapping[str, str]) -> None:
    for number, stream in enumerate(streams):
        os.dup2(stream.descriptor, number)
    sys.stdin = os.fdopen(0)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [str(_ROOT / words[0]), *words[1:]]
    runpy.run_path(sys.argv[0], run_name="__main__")
