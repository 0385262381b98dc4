"""The table in docs/choreography.md is the choreography of the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from contracts.order import NotificationMode
from workflows.choreography import Reaction

from ..roles import roles_in

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs/choreography.md"
CODE = {
    "orchestrated": ["workflows/order.py"],
    "choreographed": [
        "contracts/choreography.py",
        "workflows/choreography.py",
        "workflows/event_log.py",
        "workflows/participant.py",
        "runtime/events.py",
    ],
}
"""The code of each mode alone; both stand on `temporal_saga/`, the services and their fence."""


def _lines_of(files: list[str]) -> int:
    """Comments and docstrings included, empty lines not."""
    return sum(bool(line.strip()) for file in files for line in (ROOT / file).read_text().splitlines())


def _row(service: str, reaction: Reaction) -> str:
    heard = " or ".join(filter(None, [" + ".join(sorted(reaction.after)), *sorted(reaction.on)]))
    called = ", ".join(f"`{call.operation.name}`" for call in reaction.calls) or "nothing"
    said = f"{reaction.emits}, or {reaction.emits_on_failure}" if reaction.emits_on_failure else reaction.emits
    return f"| {service} | {heard} | {called} | {said} |"


def test_the_documented_choreography_is_the_one_that_runs() -> None:
    roles = roles_in(NotificationMode.BEST_EFFORT)
    rows = [_row(service, reaction) for service, role in roles.items() for reaction in role.reactions]
    header = "| service | when these events have arrived | it calls | and publishes |\n|---|---|---|---|\n"
    assert header + "\n".join(rows) + "\n" in DOCUMENT.read_text()


def test_the_lines_of_code_of_each_mode_are_about_those_in_the_document() -> None:
    said = re.search(r"about (\d+) lines\s+\(.*?\) and (\d+) \(", DOCUMENT.read_text())
    assert said is not None
    assert [*map(int, said.groups())] == [pytest.approx(_lines_of(CODE[way]), rel=0.1) for way in CODE]
