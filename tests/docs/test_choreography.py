"""The table in docs/choreography.md is the one that is played."""

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


def test_the_table_in_the_document_is_the_one_that_is_played() -> None:
    parts = CHOREOGRAPHY[NotificationMode.BEST_EFFORT]
    rows = [_row(service, reaction) for service, part in parts.items() for reaction in part.reactions]
    header = "| service | when these events have arrived | it calls | and publishes |\n|---|---|---|---|\n"
    assert header + "\n".join(rows) + "\n" in DOCUMENT.read_text()


def test_the_lines_that_each_way_has_of_its_own_are_about_those_in_the_document() -> None:
    said = re.search(r"about (\d+) lines\s+\(.*?\) and (\d+) \(", DOCUMENT.read_text())
    assert said is not None
    assert [*map(int, said.groups())] == [pytest.approx(lines_of(CODE[way]), rel=0.1) for way in CODE]
