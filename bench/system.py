"""One contender at work: load it, see what it used and left, audit it."""

import asyncio
import json
import re
import sys
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from bench import cpu
from bench.contender import Contender
from bench.figures import Load, Sample
from bench.footprint import footprint
from bench.orders import refused, write_orders
from bench.plan import Scenario
from bench.processes import BenchFailed, Program, environment_of, run
from runtime.embedded import free_port

_WARM_UP = Scenario("warm-up", 10)
_WARM_UP_ORDERS = 10
"""Compiles, caches and connects what only the first orders pay for; and shows what it costs to start the client."""
_LOAD_TIMEOUT_S = 300
"""For a load that was to take seconds, or a minute where an engine crawls: the machine is doing something else."""
_COMMAND_TIMEOUT_S = 120


class System:
    """A contender's programs, freshly started in `folder` and warmed up. A context manager."""

    def __init__(self, contender: Contender, folder: Path) -> None:
        self.contender = contender
        self._folder = folder
        port, ui_port = free_port(), free_port()
        self._address = f"127.0.0.1:{port}"
        self._names = {"folder": folder, "port": port, "ui_port": ui_port, "address": self._address}
        self._environment = environment_of(folder, self._address)
        self._stack = ExitStack()
        self._client_start_s = 0.0

    def __enter__(self) -> Self:
        program = Program(self._python(self.contender.serve), self._environment, self._folder / "program.log")
        self._program = self._stack.enter_context(program)
        beside = re.search(r"postgres=(\d+)", program.ready_line)
        self._roots = [program.pid, *([int(beside[1])] if beside else [])]
        try:
            _, self._client_start_s = self._place(_WARM_UP, _WARM_UP_ORDERS)
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _python(self, command: str, **names: Any) -> list[str]:
        """The words of a command of the contender, with what its names stand for."""
        return [sys.executable, *(word.format(**self._names, **names) for word in command.split())]

    def measure(self, scenario: Scenario, count: int, *, round_number: int) -> Sample:
        """Place `count` orders. Raises `BenchFailed` if they do not end as they must."""
        began, before = datetime.now(UTC), cpu.used(self._roots)
        load, client_s = self._place(scenario, count)
        used = cpu.used(self._roots) - before
        # The client's start is in its first load too: what is left is the cost of the orders beyond those.
        client_s = max(0.0, client_s - self._client_start_s) / (count - _WARM_UP_ORDERS)
        leaves_histories = self.contender.on_temporal and round_number == 1  # reading them takes seconds
        return Sample(
            contender=self.contender.name,
            scenario=scenario.name,
            round=round_number,
            load=load,
            server_ms=used.server_s / count * 1000,
            worker_ms=used.worker_s / count * 1000,
            client_ms=client_s * 1000,
            worker_mb=used.worker_rss / 1e6,
            footprint=asyncio.run(footprint(self._address, began, count)) if leaves_histories else None,
        )

    def _place(self, scenario: Scenario, count: int) -> tuple[Load, float]:
        """The client's report, and the seconds of processor time that its process took."""
        orders, at_once = self._folder / "orders.jsonl", scenario.concurrency
        write_orders(orders, count, scenario.refused_share)
        if self.contender.place is None:
            task = json.dumps({"orders": str(orders), "concurrency": at_once})
            answer, client_s = self._program.ask(task, _LOAD_TIMEOUT_S), 0.0
        else:
            batches = 2 if at_once % 2 == 0 else 1  # two overlap, where that divides the orders under way
            names = {"orders": orders, "concurrency": at_once, "batches": batches, "batch_size": at_once // batches}
            answer, client_s = self._run(self._python(self.contender.place, **names), _LOAD_TIMEOUT_S)
        load = Load.model_validate_json(answer)
        no = refused(count, scenario.refused_share)
        wanted = {state: number for state, number in (("CONFIRMED", count - no), ("ROLLED_BACK", no)) if number}
        if load.states != wanted:
            raise BenchFailed(f"{self.contender.name}: {count} orders ended {load.states}, not {wanted}")
        return load, client_s

    def _run(self, command: list[str], timeout_s: float) -> tuple[str, float]:
        return run(command, self._environment, self._folder / "commands.log", timeout_s)

    def command(self, name: str) -> str:
        """What `python starter.py NAME --json` prints against this system. Raises `BenchFailed` unless it exits 0."""
        return self._run([sys.executable, "starter.py", name, "--json"], _COMMAND_TIMEOUT_S)[0]

    def audit(self) -> int:
        """The orders over whose databases the invariants hold. Raises `BenchFailed` if one is broken."""
        return int(json.loads(self.command("audit"))["orders"])
