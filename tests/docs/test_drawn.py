"""What the documents draw of the process is the process of the code."""

from pathlib import Path

import pytest

from . import drawn


@pytest.mark.parametrize("file", drawn.DRAWN)
def test_what_a_document_draws_of_the_process_is_drawn_from_the_code(file: str) -> None:
    text = (drawn.ROOT / file).read_text()
    assert drawn.DRAWN[file](text) == text, drawn.OUTDATED


def test_what_has_changed_is_written_again_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawn, "ROOT", tmp_path)
    (tmp_path / "docs").mkdir()
    for file in drawn.DRAWN:
        text = (Path(__file__).parents[2] / file).read_text()
        (tmp_path / file).write_text(text.replace("inventory.release", "inventory.give_back"))
    drawn.write()
    for file in drawn.DRAWN:
        assert (tmp_path / file).read_text() == (Path(__file__).parents[2] / file).read_text()


def test_the_picture_is_in_the_architecture() -> None:
    assert "](order.svg)" in (drawn.ROOT / "docs/architecture.md").read_text()
