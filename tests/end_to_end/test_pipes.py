"""Output that cannot be written: the exit code of a command is still that of the order."""

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from .system import ROOT, System

pytestmark = pytest.mark.xdist_group("system")

_COMMANDS: dict[str, tuple[list[str], int]] = {
    "place": (["place", "--item", "BOOK-1:1", "--json"], 0),
    "place for people": (["place", "--item", "BOOK-1:1", "--customer", "nobody"], 1),
    "an unknown order": (["status", "no-such-order", "--json"], 2),
}


@pytest.mark.parametrize(("words", "code"), _COMMANDS.values(), ids=_COMMANDS.keys())
def test_a_command_whose_output_finds_a_full_disk_ends_as_the_order_does(
    system: System, words: list[str], code: int
) -> None:
    with open("/dev/full", "wb") as full:  # noqa: PTH123
        done = _run(system, words, full)
    assert done.returncode == code
    said = done.stderr.decode()
    assert "the output could not be written: No space left on device" in said
    assert "Traceback" not in said


def test_a_closed_pipe_changes_no_exit_code(system: System, order: Callable[..., dict[str, Any]]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = _run(system, ["place", "--item", "BOOK-1:1", "--json"], writing)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


def _run(system: System, arguments: list[str], out: Any) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, str(ROOT / "starter.py"), *arguments],
        cwd=system.folder,
        env=system.environment,
        stdout=out,
        stderr=subprocess.PIPE,
        check=False,
        timeout=60,
    )
