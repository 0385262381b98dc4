"""A running system for tests: the embedded server and every service in a process, and the command line against it."""

import json
import os
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from runtime.embedded import free_port

from .command import Answer, Program

ROOT = Path(__file__).parents[2]


@dataclass
class System:
    folder: Path
    options: list[str] = field(default_factory=list)
    port: int = field(default_factory=free_port)
    ui_port: int = field(default_factory=free_port)
    worker: Program | None = None
    worker_environment: dict[str, str] = field(default_factory=dict)
    """Variables that the worker sees, and the commands do not."""
    database_url: str | None = None
    """Unset: a SQLite file for each service in `folder`."""

    @property
    def environment(self) -> dict[str, str]:
        in_folder = f"sqlite+aiosqlite:///{quote(str(self.folder))}/{{service}}.db"
        return os.environ | {
            "DATABASE_URL": self.database_url or in_folder,
            "TEMPORAL_ADDRESS": f"127.0.0.1:{self.port}",
            "LOG_FORMAT": "json",
        }

    def start(self) -> str:
        """Start the worker and return its `ready` line; `AssertionError` if it does not start."""
        options = ["--embedded", "--port", str(self.port), "--ui-port", str(self.ui_port), "--data", str(self.folder)]
        self.worker = self.start_worker(*options, *self.options, **self.worker_environment)
        return self.worker.until_ready()

    def start_worker(self, *options: str, **environment: str) -> Program:
        """Start `python worker.py …`; the caller waits until it is ready."""
        log = self.folder / "worker.log"
        return Program(["worker.py", *options], ROOT, self.environment | environment, log=log)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End the worker and return its exit code."""
        assert self.worker is not None
        return self.worker.end(number)

    def run(self, *arguments: str, stdin: str = "", **environment: str) -> Answer:
        """Run `python starter.py …` to its end."""
        return self.start_command(*arguments, stdin=stdin, **environment).answer()

    def place(self, order: dict[str, Any], *options: str) -> Answer:
        return self.run("place", "-", "--json", *options, stdin=json.dumps(order))

    def start_command(self, *arguments: str, stdin: str = "", **environment: str) -> Program:
        """Start `python starter.py …` beside the test."""
        return Program(["starter.py", *arguments], self.folder, self.environment | environment, stdin)

    def log_lines(self) -> list[dict[str, Any]]:
        lines = (self.folder / "worker.log").read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]
