"""`make install`: pip's lines for a person who looks on, and one line in a pipe or a log."""

import subprocess
from pathlib import Path

import pytest

from .terminal import ROOT, Terminal

_MAKE = ["make", "--no-print-directory", "install", "PYTHON=true", "BIN=bin"]
_ON_A_TERMINAL = f"import subprocess, sys; sys.exit(subprocess.run({_MAKE}).returncode)"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkout whose pip installs nothing and tells its options."""
    (tmp_path / "Makefile").write_text((ROOT / "Makefile").read_text())
    (tmp_path / "requirements-dev.txt").touch()
    (tmp_path / ".venv").mkdir()
    pip = tmp_path / "bin/pip"
    pip.parent.mkdir()
    pip.write_text('#!/bin/sh\ncase "$*" in *--quiet*) ;; *) echo Collecting temporalio;; esac\n')
    pip.chmod(0o755)
    return tmp_path


def test_an_installation_is_one_line_where_nobody_looks_on(folder: Path) -> None:
    done = subprocess.run(_MAKE, cwd=folder, capture_output=True, text=True, check=True)
    assert done.stdout == "installing into .venv what requirements-dev.txt pins; it takes about a minute\n"
    assert done.stderr == ""


def test_an_installation_shows_its_progress_on_a_terminal(folder: Path) -> None:
    installing = Terminal(["-c", _ON_A_TERMINAL], folder=folder)
    assert installing.end() == 0
    assert "Collecting temporalio" in installing.shown
