"""The waits of a saga."""

from pathlib import Path

_ROOT = Path(__file__).parents[2]


def test_only_saga_waiting_waits_for_conditions() -> None:
    """Its docstrings say why."""
    sources = [path for folder in ("temporal_saga", "workflows") for path in (_ROOT / folder).glob("*.py")]
    waiting = {path.name for path in sources if "workflow.wait_condition(" in path.read_text()}
    assert waiting == {"waiting.py"}
