"""A running system for tests: the embedded server and every service in a process, and the command line against it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from runtime.embedded import free_port

from . import command
from .command import Answer

ROOT = Path(__file__).parents[2]
_READY_TIMEOUT_S = 60


@dataclass
class System:
    folder: Path
    options: list[str] = field(default_factory=list)
    port: int = field(default_factory=free_port)
    ui_port: int = field(default_factory=free_port)
    worker: subprocess.Popen[str] | None = None
    database_url: str | None = None
    """A file for each service in `folder`, if unset."""

    @property
    def environment(self) -> dict[str, str]:
        in_folder = f"sqlite+aiosqlite:///{quote(str(self.folder))}/{{service}}.db"
        return os.environ | {
            "DATABASE_URL": self.database_url or in_folder,
            "TEMPORAL_ADDRESS": f"127.0.0.1:{self.port}",
            "LOG_FORMAT": "json",
        }

    def start(self) -> str:
        """Start the worker and return its `ready` line."""
        worker = [sys.executable, "worker.py", "--embedded", "--port", str(self.port), "--ui-port", str(self.ui_port)]
        worker += ["--data", str(self.folder), *self.options]
        with (self.folder / "worker.log").open("ab") as log:
            self.worker = subprocess.Popen(
                worker, cwd=ROOT, env=self.environment, stdout=subprocess.PIPE, stderr=log, text=True
            )
        assert self.worker.stdout is not None
        line = self.worker.stdout.readline()
        assert line.startswith("ready"), (self.folder / "worker.log").read_text()[-2000:]
        return line

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End the worker and return its exit code."""
        assert self.worker is not None
        self.worker.send_signal(number)
        return self.worker.wait(timeout=_READY_TIMEOUT_S)

    def run(self, *arguments: str, stdin: str = "", **environment: str) -> Answer:
        """`python starter.py …` to its end."""
        return command.run(arguments, stdin, self.folder, self.environment | environment)

    def place(self, order: dict[str, Any], *options: str) -> Answer:
        return self.run("place", "-", "--json", *options, stdin=json.dumps(order))

    def start_command(self, *arguments: str) -> subprocess.Popen[str]:
        """`python starter.py …`, running beside the test."""
        return subprocess.Popen(
            [sys.executable, str(ROOT / "starter.py"), *arguments],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def log_lines(self) -> list[dict[str, Any]]:
        lines = (self.folder / "worker.log").read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]
