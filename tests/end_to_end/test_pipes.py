"""Output that nobody reads to its end."""

from __future__ import annotations

import os
import subprocess
import sys

from .system import ROOT

_PROGRAM = """
import typer
from cli import show
from runtime.commandline import run
app = typer.Typer()
@app.command()
def main() -> int:
    show.document(["x" * 100] * 20_000)
    return 4
run(app)
"""


def test_a_reader_who_leaves_changes_neither_the_exit_code_nor_stderr() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM], cwd=ROOT, stdout=writing, stderr=subprocess.PIPE, check=False
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (4, b"")
