"""The table in docs/choreography.md is the choreography of the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bench.compare import CODE, lines_of
from contracts.choreography import CHOREOGRAPHY, Reaction
from contracts.order import NotificationMode

DOCUMENT = Path(__file__).parents[2] / "docs/choreography.md"


def _row(service: str, reaction: Reaction) -> str:
    heard = " or ".join(filter(None, [" + ".join(sorted(reaction.after)), *sorted(reaction.on)]))
    called = f"`{reaction.does.name}`" if reaction.does is not None else "nothing"
    said = f"{reaction.says}, or {reaction.or_says}" if reaction.or_says is not None else reaction.says
    return f"| {service} | {heard} | {called} | {said} |"


def test_the_documented_choreography_is_the_one_that_runs() -> None:
    parts = CHOREOGRAPHY[NotificationMode.BEST_EFFORT]
    rows = [_row(service, reaction) for service, part in parts.items() for reaction in part.reactions]
    header = "| service | when it has heard | it calls | and says |\n|---|---|---|---|\n"
    assert header + "\n".join(rows) + "\n" in DOCUMENT.read_text()


def test_the_lines_of_code_of_each_mode_are_about_those_in_the_document() -> None:
    said = re.search(r"about (\d+) lines\s+\(.*?\) and (\d+) \(", DOCUMENT.read_text())
    assert said is not None
    assert [*map(int, said.groups())] == [pytest.approx(lines_of(CODE[way]), rel=0.1) for way in CODE]
