"""The summary of a run: tables, and one JSON line."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table


@dataclass
class Report:
    seed: int
    orders: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    """Orders by state and code."""
    faults: Counter[str] = field(default_factory=Counter)
    """Faults injected into attempts, by kind, as the workers logged them."""
    injections: Counter[str] = field(default_factory=Counter)
    """Hits of the fault injectors, by injector."""
    worker_starts: int = 0
    undos: int = 0
    parked_ever: int = 0
    parked_now: int = 0
    retried_by_desk: int = 0
    matrix: str = "not run"
    seconds: dict[str, float] = field(default_factory=dict)
    """By phase."""
    violations: list[str] = field(default_factory=list)

    def count_worker_logs(self, lines: Iterable[dict[str, Any]]) -> None:
        parked: set[tuple[str, str]] = set()
        for line in lines:
            if line.get("event") == "fault":
                self.faults[line["kind"]] += 1
            elif line.get("event") == "step" and line.get("status") == "PARKED":
                parked.add((line["transaction_id"], line["step"]))
        self.parked_ever = len(parked)

    def print(self) -> None:
        out = Console()
        tables: dict[str, Mapping[str, object]] = {
            f"seed {self.seed}: {self.orders} orders": self.ends,
            "faults in attempts": self.faults,
            "faults in the system": self.injections | Counter({"worker starts": self.worker_starts}),
            "meanwhile": {
                "undos run": self.undos,
                "parked ever": self.parked_ever,
                "parked now": self.parked_now,
                "retried by the desk": self.retried_by_desk,
                "crash matrix": self.matrix,
            },
            "seconds": {phase: round(seconds) for phase, seconds in self.seconds.items()},
        }
        for title, rows in tables.items():
            table = Table("", "", title=title, title_justify="left", show_header=False)
            for name, value in sorted(rows.items()):
                table.add_row(name, str(value))
            out.print(table)
        out.print(f"{len(self.violations)} violations", *self.violations, sep="\n", markup=False)
        out.file.write(json.dumps(vars(self)) + "\n")
