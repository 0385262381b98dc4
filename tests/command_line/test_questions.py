"""A command that changes much asks first: on a terminal it takes an answer, elsewhere it refuses."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

_PROGRAM = """
import sys
import typer
from cli import session
from runtime.commandline import run
app = typer.Typer()
@app.command()
def command():
    session.require_yes("BOOK-1 has 9 on hand", yes=False)
    print("done")
run(app)
"""


@pytest.mark.parametrize(("answer", "code", "out"), [("y", 0, "done\n"), ("n", 2, "")])
def test_a_person_on_a_terminal_is_asked(answer: str, code: int, out: str) -> None:
    ours, theirs = pty.openpty()
    asked = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM],
        stdin=theirs,
        stderr=theirs,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    os.close(theirs)
    os.write(ours, f"{answer}\n".encode())
    printed, _ = asked.communicate(timeout=60)
    shown = os.read(ours, 4096).decode()
    os.close(ours)
    assert (asked.returncode, printed.decode()) == (code, out)
    assert "BOOK-1 has 9 on hand. Go on? " in shown
    assert ("error: nothing was changed" in shown) == (answer == "n")


def test_without_a_terminal_the_command_refuses_in_one_line_that_names_yes() -> None:
    asked = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        input="y\n",
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        timeout=60,
        check=False,
    )
    assert (asked.returncode, asked.stdout) == (2, "")
    assert asked.stderr == "error: BOOK-1 has 9 on hand: nothing was changed; --yes does it\n"
