"""The commands of docs/runbook.md, for the tests that run them as they are written."""

import re
from pathlib import Path
from textwrap import dedent

RUNBOOK = Path(__file__).parents[2] / "docs/runbook.md"
_BLOCK = re.compile(r"^ *```sh\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)


def commands_with(word: str) -> str:
    """The one block of commands that has `word` in it."""
    [block] = [found for found in _BLOCK.findall(RUNBOOK.read_text()) if word in found]
    return dedent(block)
