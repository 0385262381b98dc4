"""The commands of the runbook are there as it writes them, and it says what to do about each code."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from contracts.errors import Code

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


def test_the_runbook_says_what_to_do_about_each_code() -> None:
    [chapter] = re.findall(r"^## Codes\n(.*?)^## ", RUNBOOK.read_text(), re.MULTILINE | re.DOTALL)
    rows: list[str] = re.findall(r"^\| ([A-Z_, ]+) \|", chapter, re.MULTILINE)
    assert sorted(code for row in rows for code in row.split(", ")) == sorted(Code)


@pytest.mark.parametrize("program", ["starter.py", "worker.py"])
def test_a_program_that_is_on_the_path_starts_by_its_name_alone(program: str) -> None:
    path = RUNBOOK.parents[1] / program
    assert path.read_text().startswith("#!/usr/bin/env python3\n")
    assert os.access(path, os.X_OK)
