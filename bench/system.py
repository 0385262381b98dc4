"""One contender at work: load it, see what it used and left, audit it."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from bench import cpu
from bench.contender import PYTHON, Contender, Site
from bench.figures import Audit, Cpu, Footprint, Load, Sample
from bench.footprint import footprint
from bench.orders import refused, write_orders
from bench.plan import Scenario
from bench.processes import BenchFailed, Program, environment_of, run

_WARM_UP = Scenario("warm-up", 10)
_WARM_UP_ORDERS = 10
"""Compiles, caches and connects what only the first orders pay for; and shows what it costs to start the client."""
_LOAD_TIMEOUT_S = 300
"""For a load that was to take seconds, or a minute where an engine crawls: the machine is doing something else."""
_COMMAND_TIMEOUT_S = 120


@dataclass(frozen=True)
class _Placed:
    load: Load
    used: cpu.Usage
    client_s: float
    began: datetime


class System:
    """A contender's programs, freshly started in `folder` and warmed up. A context manager."""

    def __init__(self, contender: Contender, folder: Path) -> None:
        self.contender = contender
        self._site = Site(folder)
        self._environment = environment_of(folder, self._site.address)
        self._stack = ExitStack()
        self._loads = 0

    def __enter__(self) -> Self:
        log = self._site.folder / "program.log"
        program = Program(self.contender.serve(self._site), self._environment, log)
        self._program = self._stack.enter_context(program)
        beside = re.search(r"postgres=(\d+)", program.ready_line)
        self._roots = [program.pid, *([int(beside[1])] if beside else [])]
        try:
            self._client_start_s = self._place(_WARM_UP, _WARM_UP_ORDERS).client_s
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._stack.close()

    def measure(
        self,
        scenario: Scenario,
        count: int,
        *,
        run_number: int,
        with_footprint: bool,
        timeout_s: float = _LOAD_TIMEOUT_S,
    ) -> Sample:
        """Place `count` orders. Raises `BenchFailed` if they do not end as they must."""
        placed = self._place(scenario, count, timeout_s)
        # The client's start is in its first load too: what is left is the cost of the orders beyond those.
        client_s = max(0.0, placed.client_s - self._client_start_s) / (count - _WARM_UP_ORDERS)
        return Sample(
            contender=self.contender.name,
            scenario=scenario.name,
            run=run_number,
            load=placed.load,
            cpu_ms=Cpu(
                server=placed.used.server_s / count * 1000,
                worker=placed.used.worker_s / count * 1000,
                client=client_s * 1000,
            ),
            worker_rss_mb=placed.used.worker_rss / 1e6,
            footprint=self._footprint(placed) if with_footprint and self.contender.on_temporal else None,
        )

    def _place(self, scenario: Scenario, count: int, timeout_s: float = _LOAD_TIMEOUT_S) -> _Placed:
        self._loads += 1
        orders = self._site.folder / f"orders-{self._loads}.jsonl"
        write_orders(orders, count, scenario.refused_share)
        began, before = datetime.now(UTC), cpu.used(self._roots)
        if self.contender.place is None:
            task = json.dumps({"orders": str(orders), "concurrency": scenario.concurrency})
            answer, client_s = self._program.ask(task, timeout_s), 0.0
        else:
            command, log = (
                self.contender.place(self._site, orders, scenario.concurrency),
                self._site.folder / "client.log",
            )
            answer, client_s = run(command, self._environment, log, timeout_s)
        used = cpu.used(self._roots) - before
        load = Load.model_validate_json(answer)
        self._check(load, count, refused(count, scenario.refused_share))
        return _Placed(load, used, client_s, began)

    def _check(self, load: Load, count: int, to_be_refused: int) -> None:
        ends = {"CONFIRMED": count - to_be_refused, "ROLLED_BACK": to_be_refused}
        wanted = {state: number for state, number in ends.items() if number} if self.contender.is_saga else None
        if load.orders != count or (wanted is not None and load.states != wanted):
            raise BenchFailed(f"{self.contender.name}: {count} orders ended {load.states}, not {wanted}")

    def _footprint(self, placed: _Placed) -> Footprint:
        return asyncio.run(footprint(self._site.address, placed.began, placed.load.orders))

    def command(self, *arguments: str) -> str:
        """What `python starter.py … --json` prints against this system."""
        command = [PYTHON, "starter.py", *arguments, "--json"]
        return run(command, self._environment, self._site.folder / "command.log", _COMMAND_TIMEOUT_S)[0]

    def audit(self, run_number: int) -> Audit:
        """Prove the invariants over its databases. Raises `BenchFailed` if one is broken: speed of no worth."""
        report = json.loads(self.command("audit"))
        return Audit(contender=self.contender.name, run=run_number, clean=report["clean"], orders=report["orders"])
