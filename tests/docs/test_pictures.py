"""The pictures of the process in the documents are those that `starter.py graph` draws."""

from __future__ import annotations

from pathlib import Path

from cli.graph import plan_of, sample
from cli.mermaid import mermaid
from cli.picture import picture_of
from cli.svg import svg

ROOT = Path(__file__).parents[2]
_PICTURE = picture_of(plan_of(sample()))


def test_the_picture_in_the_readme_is_drawn_from_the_process() -> None:
    """If it is not: put what `starter.py graph` prints into the block."""
    assert f"```mermaid\n{mermaid(_PICTURE)}```\n" in (ROOT / "README.md").read_text()


def test_the_picture_in_the_architecture_is_drawn_from_the_process() -> None:
    """If it is not: `starter.py graph --format svg > docs/order.svg`."""
    assert (ROOT / "docs/order.svg").read_text() == svg(_PICTURE)
    assert "](order.svg)" in (ROOT / "docs/architecture.md").read_text()
