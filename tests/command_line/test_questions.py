"""A command that changes much asks first: on a terminal it takes an answer, elsewhere it refuses."""

import subprocess
import sys

import pytest

from .terminal import ROOT, Terminal

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


@pytest.mark.parametrize(("answer", "code", "then"), [("y", 0, "done"), ("n", 2, "error: nothing was changed")])
def test_a_person_on_a_terminal_is_asked(answer: str, code: int, then: str) -> None:
    asked = Terminal(["-c", _PROGRAM])
    asked.until_shown("BOOK-1 has 9 on hand. Go on? ")
    asked.press(f"{answer}\n".encode())
    asked.until_shown(then)
    assert asked.end() == code
    assert ("done" in asked.shown) == (answer == "y")


def test_without_a_terminal_the_command_refuses_in_one_line_that_names_yes() -> None:
    asked = subprocess.run(
        [sys.executable, "-c", _PROGRAM], input="y\n", capture_output=True, text=True, cwd=ROOT, timeout=60, check=False
    )
    assert (asked.returncode, asked.stdout) == (2, "")
    assert asked.stderr == "error: BOOK-1 has 9 on hand: nothing was changed; --yes does it\n"
