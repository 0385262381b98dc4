"""The figures in docs/choreography.md are those of the code."""

import re
from pathlib import Path

import pytest

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


def test_the_lines_of_code_of_each_mode_are_about_those_in_the_document() -> None:
    said = re.search(r"about (\d+) lines\s+\(.*?\) and (\d+) \(", DOCUMENT.read_text())
    assert said is not None
    assert [*map(int, said.groups())] == [pytest.approx(_lines_of(CODE[way]), rel=0.1) for way in CODE]
