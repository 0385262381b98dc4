"""What a deliberate defect is: texts to replace in one file each, and the tests that must notice."""

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


class Rotten(Exception):
    """The text to replace is not there exactly once: the code has moved on, and the list must follow."""


@dataclass(frozen=True)
class Edit:
    """Replace `text`, which is in `file` exactly once. The file is named from the root of the repository."""

    file: str
    text: str
    by: str

    def apply(self, root: Path) -> None:
        """Raises `Rotten`."""
        path = root / self.file
        source = path.read_text()
        if source.count(self.text) != 1:
            raise Rotten(f"{self.file} has {source.count(self.text)} times, instead of once:\n{self.text}")
        path.write_text(source.replace(self.text, self.by))


class Mutation:
    """A defect in one sentence, the edits that bring it in, and the pytest node ids of which each must fail."""

    def __init__(self, defect: str, *edits_and_tests: Edit | str) -> None:
        self.defect = defect
        self.edits = tuple(each for each in edits_and_tests if isinstance(each, Edit))
        self.tests = tuple(each for each in edits_and_tests if isinstance(each, str))
        self.files = tuple(dict.fromkeys(edit.file for edit in self.edits))
