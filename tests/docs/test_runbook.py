"""The Temporal CLI has the commands and options that the runbook uses."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from .runbook import RUNBOOK

TEMPORAL = str(Path(sys.executable).with_name("temporal"))
COMMANDS = sorted(set(re.findall(r"(?:^|`)(temporal [a-z]+ [^`\n]+)", RUNBOOK.read_text(), re.MULTILINE)))


def test_the_runbook_has_commands_of_the_temporal_cli() -> None:
    assert len(COMMANDS) >= 4


@pytest.mark.parametrize("command", COMMANDS)
def test_the_temporal_cli_has_this_command_and_its_options(command: str) -> None:
    words = shlex.split(command)[1:]
    options = [word for word in words if word.startswith("--")]
    named = words[: words.index(options[0])] if options else words
    shown = _said(*named, "--help")
    assert f"Usage:\n  temporal {' '.join(named)} " in shown
    assert [option for option in options if not re.search(rf"{option}\b", shown + _said("options"))] == []


def _said(*words: str) -> str:
    return subprocess.run([TEMPORAL, *words], capture_output=True, text=True, check=True, timeout=60).stdout
