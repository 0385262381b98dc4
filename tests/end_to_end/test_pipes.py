"""Output that cannot be written: how a command ends is the order's, and is said by the exit code all the same."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from .system import ROOT, System

pytestmark = pytest.mark.xdist_group("system")

_COMMANDS: dict[str, tuple[list[str], int]] = {
    "place": (["place", "--item", "BOOK-1:1", "--json"], 0),
    "place for people": (["place", "--item", "BOOK-1:1", "--customer", "nobody"], 1),
    "status": (["status", "{confirmed}"], 0),
    "list": (["list", "--json"], 0),
    "bulk": (["bulk", "--count", "3"], 0),
    "stock": (["stock", "list"], 0),
    "an unknown order": (["status", "{unknown}", "--json"], 2),
}


@pytest.fixture(scope="module")
def confirmed(system: System) -> str:
    name = f"t-{uuid4().hex[:8]}-pipes"
    assert system.run("place", "--item", "BOOK-1:1", "--id", name).code == 0
    return name


@pytest.mark.parametrize(("words", "code"), _COMMANDS.values(), ids=_COMMANDS.keys())
def test_a_command_whose_output_finds_a_full_disk_ends_as_the_order_does(
    system: System, confirmed: str, words: list[str], code: int
) -> None:
    arguments = [word.format(confirmed=confirmed, unknown="no-such-order") for word in words]
    with open("/dev/full", "wb") as full:  # noqa: PTH123
        done = _run(system, arguments, full)
    assert done.returncode == code
    said = done.stderr.decode()
    assert "the output could not be written: No space left on device" in said
    assert "Traceback" not in said


def test_a_reader_who_leaves_changes_no_exit_code(system: System, order: Callable[..., dict[str, Any]]) -> None:
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
