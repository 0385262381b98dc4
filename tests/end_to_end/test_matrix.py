"""The crash matrix: every step and every undo of the order, times every fault; then the audit.

The steps are read from orders that this system has placed, so the matrix has every new step.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from ..eventually import eventually
from ..orders import BOUNCES, REQUIRED
from .steps import Steps
from .system import System

Make = Callable[..., dict[str, Any]]

# Nearly ninety orders that hang and fail take half a minute, and more on a busy machine.
pytestmark = [pytest.mark.chaos, pytest.mark.xdist_group("matrix"), pytest.mark.timeout(300)]


@dataclass(frozen=True)
class Injected:
    """A fault, and whether the attempts of a step run out because of it."""

    name: str
    kind: str
    attempts: int | None = None
    gives_up: bool = False
    late_attempt: int | None = None
    """The number of the attempt that acts after its timeout, when its undo or another attempt has acted."""

    def on(self, order_id: str, operation: str) -> str:
        lines = [f'transaction = "order/{order_id}"', f'operation = "{operation}"', f'kind = "{self.kind}"']
        lines += [] if self.attempts is None else [f"attempts = {self.attempts}"]
        fault = "\n".join(["[[fault]]", *lines, ""])
        if self.late_attempt is None:
            return fault
        late = ["[[fault]]", *lines[:2], 'kind = "delay"', f"attempts = {self.late_attempt}", "seconds = 8", ""]
        return fault + "\n".join(late)


ONCE = [
    Injected("fails-once", "error_before", 1),
    Injected("fails-thrice", "error_before", 3),
    Injected("reply-lost", "error_after", 1),
    Injected("replies-lost", "error_after", 3),
    Injected("hangs-once", "hang", 1),
]
FOR_EVER = [
    Injected("always-fails", "error_before", gives_up=True),
    Injected("never-replies", "error_after", gives_up=True),
    Injected("always-hangs", "hang", gives_up=True),
    # It hangs for eight seconds and has five; from ten seconds on the SDK would end it.
    Injected("acts-after-its-undo", "hang", 3, gives_up=True, late_attempt=4),
]


@dataclass(frozen=True)
class Case:
    order: dict[str, Any]
    operation: str
    injected: Injected
    state: str


def _cases(system: System, order: Make) -> list[Case]:
    steps = Steps.read(system.place(order(**REQUIRED)).document, system.place(order(**BOUNCES)).document)
    matrix: list[tuple[Sequence[str], list[Injected], dict[str, Any], str]] = [
        (steps.prepared, [*ONCE, *FOR_EVER], REQUIRED, "CONFIRMED"),
        (steps.promised, ONCE, REQUIRED, "CONFIRMED"),
        (steps.undos, ONCE, BOUNCES, "ROLLED_BACK"),
    ]
    cases = []
    for operations, injected_faults, changes, state in matrix:
        for operation in operations:
            for injected in injected_faults:
                document = order(f"{operation}-{injected.name}", deadline_s=600, **changes)  # no order reaches it
                cases.append(Case(document, operation, injected, "ROLLED_BACK" if injected.gives_up else state))
    return cases


def test_every_step_and_undo_survives_every_fault(fresh_system: System, order: Make) -> None:
    system = fresh_system
    system.start()
    cases = _cases(system, order)
    assert len(cases) >= 70
    system.stop()
    faults = system.folder / "faults.toml"
    faults.write_text("".join(case.injected.on(case.order["order_id"], case.operation) for case in cases))
    system.options = ["--faults", str(faults)]
    system.start()

    lines = "\n".join(json.dumps(case.order) for case in cases)
    for _ in range(3):  # on a busy machine an order may be parked for a while
        answer = system.run("bulk", "-", "--concurrency", "100", "--json", "--outcomes", stdin=lines)
        if answer.code == 0:
            break
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
    _wait_for_the_late(system, [case for case in cases if case.injected.late_attempt])
    audit = system.run("audit", "--json")
    assert audit.code == 0, audit.out


def _wait_for_the_late(system: System, cases: list[Case]) -> None:
    """Wait until each attempt that comes after its undo has been refused, as the log says.

    On a busy machine the attempts before it may have used up the time for all of them.
    """
    last = {(f"order/{case.order['order_id']}", case.operation, case.injected.late_attempt) for case in cases}
    expected = last & {
        (line["transaction_id"], line["step"], line["attempt"])
        for line in system.log_lines()
        if line["event"] == "fault"
    }
    assert len(expected) >= len(last) / 2

    def missing() -> set[tuple[str, str, int | None]]:
        return expected - {
            (line["transaction_id"], line["step"], line["attempt"])
            for line in system.log_lines()
            if line.get("error_code") == "STEP_UNDONE" and line["event"] == "operation"
        }

    eventually(missing, "every late attempt is refused", until=lambda left: not left)
