import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.end_to_end import command
from tests.end_to_end.command import Answer

Run = Callable[..., Answer]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """`python starter.py …` where there is no server: a command that gets as far as to look for one ends with 3."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TEMPORAL_")}
    environment |= {"TEMPORAL_ADDRESS": "127.0.0.1:1"}

    def run_here(*arguments: str, stdin: str | bytes = "", **more: str) -> Answer:
        return command.run(arguments, stdin, tmp_path, environment | more)

    return run_here
