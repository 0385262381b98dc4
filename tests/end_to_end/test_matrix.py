"""The crash matrix: every step and every undo of the order, times every fault; then the audit.

The steps are read from orders that this system has placed, so a new step is in the matrix without being told.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from .system import System

Make = Callable[..., dict[str, Any]]

pytestmark = pytest.mark.xdist_group("matrix")

BOUNCES = {"contact": {"email": "ada@nowhere.invalid", "phone": "+442071234567"}, "notification": "required"}
"""Refused at the last step before the pivot, so that everything must be undone."""


@dataclass(frozen=True)
class Blow:
    """A fault, and whether a forward step gives up on it."""

    name: str
    kind: str
    attempts: int | None = None
    gives_up: bool = False

    def on(self, order_id: str, operation: str) -> str:
        lines = [f'transaction = "order/{order_id}"', f'operation = "{operation}"', f'kind = "{self.kind}"']
        lines += [] if self.attempts is None else [f"attempts = {self.attempts}"]
        return "\n".join(["[[fault]]", *lines, ""])


ONCE = [
    Blow("fails-once", "error_before", 1),
    Blow("fails-thrice", "error_before", 3),
    Blow("reply-lost", "error_after", 1),
    Blow("replies-lost", "error_after", 3),
    Blow("hangs-once", "hang", 1),
]
FOR_EVER = [
    Blow("always-fails", "error_before", gives_up=True),
    Blow("never-replies", "error_after", gives_up=True),
    Blow("always-hangs", "hang", gives_up=True),
]


@dataclass(frozen=True)
class Case:
    order: dict[str, Any]
    operation: str
    blow: Blow
    state: str


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    running = System(tmp_path)
    yield running
    if running.worker is not None:
        running.stop()


def _steps(document: dict[str, Any], kind: str) -> list[str]:
    return [entry["step"] for entry in document["steps"] if entry["kind"] == kind]


def _cases(system: System, order: Make) -> list[Case]:
    confirmed = system.place(order(notification="required")).document
    rolled_back = system.place(order(**BOUNCES)).document
    pivot = _steps(confirmed, "forward")[-1]
    prepared = [step for step in _steps(confirmed, "forward") if step != pivot]
    promised = [pivot, *_steps(confirmed, "finish")]
    undos = _steps(rolled_back, "undo")
    assert {"payment.cancel", "inventory.release", "shipping.cancel", "order.cancel"} <= set(undos)
    required = {"notification": "required"}
    matrix: list[tuple[list[str], list[Blow], dict[str, Any], str]] = [
        (prepared, [*ONCE, *FOR_EVER], required, "CONFIRMED"),
        (promised, ONCE, required, "CONFIRMED"),
        (undos, ONCE, BOUNCES, "ROLLED_BACK"),
    ]
    cases = []
    for operations, blows, changes, state in matrix:
        for operation in operations:
            for blow in blows:
                document = order(f"{operation}-{blow.name}", **changes)
                cases.append(Case(document, operation, blow, "ROLLED_BACK" if blow.gives_up else state))
    return cases


def test_every_step_and_undo_survives_every_fault(system: System, order: Make) -> None:
    system.start()
    cases = _cases(system, order)
    assert len(cases) >= 70
    system.stop()
    faults = system.folder / "faults.toml"
    faults.write_text("".join(case.blow.on(case.order["order_id"], case.operation) for case in cases))
    system.options = ["--faults", str(faults)]
    system.start()

    lines = "\n".join(json.dumps(case.order) for case in cases)
    answer = system.run("bulk", "-", "--concurrency", "100", "--json", "--outcomes", stdin=lines)
    assert answer.code == 0, answer.err
    ends = {outcome["order_id"]: outcome for outcome in answer.document["outcomes"]}
    wrong = {
        case.order["order_id"]: ends[case.order["order_id"]]["state"]
        for case in cases
        if ends[case.order["order_id"]]["state"] != case.state
    }
    assert wrong == {}
    struck = [
        entry
        for case in cases
        for entry in ends[case.order["order_id"]]["steps"]
        if entry["step"] == case.operation and (entry["attempts"] > 1 or entry["status"] != "DONE")
    ]
    assert len(struck) >= len(cases)  # every fault did strike
    audit = system.run("audit", "--json")
    assert audit.code == 0, audit.out
