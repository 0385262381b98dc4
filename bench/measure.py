"""The run: every contender in turn, and again, so that a noisy minute falls on all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.contender import Contender
from bench.figures import Audit, Results, Sample, rows_of
from bench.machine import load_now, machine, versions
from bench.plan import Budget, Counts, Scenario
from bench.processes import BenchFailed
from bench.system import System

START_S = 10
"""What a system takes to start, warm up and stop: with less left it would not be measured before the time is over."""

_GRACE_S = 30
"""For a load that was begun in time and takes longer than the last one."""


@dataclass
class Run:
    """What has been measured so far. `say` tells a person what is going on."""

    contenders: Sequence[Contender]
    runs: int
    counts: Counts
    budget: Budget
    say: Callable[[str], None]
    samples: list[Sample] = field(default_factory=list)
    audits: list[Audit] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def all(self) -> Results:
        before = machine()
        for contender in self.contenders:
            if reason := contender.missing():
                self.left_out[contender.name] = reason
        taking_part = [contender for contender in self.contenders if contender.name not in self.left_out]
        for number in range(1, self.runs + 1):
            for contender in taking_part:
                again = [scenario for scenario in contender.guesses if scenario not in contender.once]
                self._one(contender, again, number, f"run {number} of {self.runs}")
        for contender in taking_part:
            self._one(contender, contender.once, 1, "a single time")
        return Results(
            machine=before | {"load after": load_now()},
            versions=versions(),
            settings=self._settings(taking_part),
            rows=rows_of(self.samples),
            audits=self.audits,
            left_out=self.left_out,
            failed=self.failed,
            samples=self.samples,
        )

    def _one(self, contender: Contender, scenarios: Sequence[Scenario], number: int, turn: str) -> None:
        """One contender's turn: its system is new, and audited at the end: what is wrong has no speed."""
        if not scenarios or contender.name in self.failed:
            return
        if self.budget.left < START_S:
            self._skip(contender, turn)
            return
        self.say(f"{turn}: {contender.name}")
        try:
            with TemporaryDirectory(prefix="order-saga-bench-") as folder, System(contender, Path(folder)) as system:
                for scenario in scenarios:
                    self._measure(system, scenario, number)
                if contender.is_audited:
                    self.audits.append(system.audit(number))
        except BenchFailed as error:
            self.failed[contender.name] = str(error)
            self.say(f"  {error}")

    def _measure(self, system: System, scenario: Scenario, number: int) -> None:
        contender = system.contender
        count, seconds = self.counts.of(contender.name, scenario, contender.guesses[scenario])
        if self.budget.left < seconds:
            self._skip(contender, f"{scenario.name}, run {number}")
            return
        sample = system.measure(
            scenario,
            count,
            run_number=number,
            with_footprint=number == 1,
            timeout_s=max(self.budget.left, _GRACE_S),
        )
        self.counts.learn(contender.name, scenario, sample.load.orders_per_second)
        self.samples.append(sample)
        self.say(f"  {scenario.name}: {count} orders, {sample.load.orders_per_second:.1f}/s")

    def _skip(self, contender: Contender, what: str) -> None:
        self.left_out[f"{contender.name}: {what}"] = "the time was over; give it more with --minutes"

    def _settings(self, taking_part: Sequence[Contender]) -> dict[str, str]:
        return {
            "runs": str(self.runs),
            "seconds of load a scenario and run": f"{self.counts.load_s:g}",
            "order of the runs": "; ".join(contender.name for contender in taking_part),
            "service databases": "SQLite, a file each, WAL, synchronous=FULL, as the product opens them",
            "naive": "temporal server start-dev without further settings; one worker with the SDK's defaults",
            "client": "a process of its own, but for DBOS, which runs in the program that takes the order",
        }
