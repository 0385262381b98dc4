"""How the tasks of a saga wait."""

from __future__ import annotations

from pathlib import Path

_ROOT = Path(__file__).parents[2]


def test_nothing_waits_in_a_way_that_another_order_of_jobs_interrupts() -> None:
    """`saga.waiting.until` says why."""
    sources = [path for folder in ("saga", "workflows") for path in (_ROOT / folder).glob("*.py")]
    waiting = {path.name for path in sources if "workflow.wait_condition(" in path.read_text()}
    assert waiting == {"waiting.py"}
