"""`python starter.py …` in a process of its own, forked from one that has imported it: half a second of CPU less."""

from __future__ import annotations

import json
import multiprocessing
import os
import runpy
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_STARTER = Path(__file__).parents[2] / "starter.py"
_TIMEOUT_S = 100
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["starter"])


@dataclass(frozen=True)
class Answer:
    """What a command left: its exit code, stdout and stderr."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """Stdout as the one JSON document it must be."""
        return json.loads(self.out)


def run(arguments: Sequence[str], stdin: str | bytes, folder: Path, environment: Mapping[str, str]) -> Answer:
    """The command to its end, in `folder`."""
    with tempfile.TemporaryDirectory() as scratch:
        streams = [Path(scratch, name) for name in ("stdin", "stdout", "stderr")]
        streams[0].write_bytes(stdin.encode() if isinstance(stdin, str) else stdin)
        process = _FORKS.Process(target=_become, args=(arguments, streams, folder, environment))
        process.start()
        process.join(_TIMEOUT_S)
        if process.exitcode is None:
            process.kill()
            raise TimeoutError(f"starter.py {' '.join(arguments)}: {streams[2].read_text()}")
        return Answer(process.exitcode, streams[1].read_text(), streams[2].read_text())


def _become(arguments: Sequence[str], streams: Sequence[Path], folder: Path, environment: Mapping[str, str]) -> None:
    for number, path in enumerate(streams):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), number)
    sys.stdin = os.fdopen(0)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [str(_STARTER), *arguments]
    runpy.run_path(str(_STARTER), run_name="__main__")
