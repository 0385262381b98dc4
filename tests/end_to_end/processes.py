"""Programs that a test runs beside its system: more workers, another build, the Temporal CLI."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .command import Program
from .system import ROOT, System

_STOP_TIMEOUT_S = 60
_COMMAND_TIMEOUT_S = 60


@contextmanager
def worker(system: System, *options: str, **environment: str) -> Iterator[Program]:
    """Run `python worker.py …` against `system`, from its line `ready` to the end of the block."""
    started = system.start_worker(*options, **environment)
    try:
        started.until_ready()
        yield started
    finally:
        started.end()


@contextmanager
def other_build(system: System, *command: str, **environment: str) -> Iterator[None]:
    """Run `python <command>`, a worker of other code than this checkout's, from `ready` to the end of the block."""
    with (system.folder / "other-build.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=ROOT,
            env=system.environment | environment,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("ready"), (system.folder / "other-build.log").read_text()[-2000:]
        yield
    finally:
        process.terminate()
        process.wait(timeout=_STOP_TIMEOUT_S)


def temporal(system: System, *arguments: str) -> str:
    """Run the Temporal CLI against `system`; its output. Raises `CalledProcessError`."""
    command = [str(Path(sys.executable).with_name("temporal")), *arguments, "--address", f"127.0.0.1:{system.port}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_COMMAND_TIMEOUT_S, check=True)
    return done.stdout
