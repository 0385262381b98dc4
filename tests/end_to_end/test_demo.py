"""`make demo`, as a newcomer runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cli.demo import SCENES

from .system import ROOT


@pytest.mark.xdist_group("demo")
def test_the_demo_ends_every_order_as_it_says_and_leaves_nothing_behind(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "starter.py"), "demo"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for scene in SCENES:
        assert scene.order_id in done.stdout
    assert "expected" not in done.stdout
    assert "audit of 15 orders: clean" in done.stdout
    assert "Web UI was at http://127.0.0.1:" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_the_demo_shows_at_least_eight_different_ends() -> None:
    assert len({(scene.state, scene.code) for scene in SCENES}) >= 8
