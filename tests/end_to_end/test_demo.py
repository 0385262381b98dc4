"""`make demo`, as a newcomer runs it."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from cli.demo import SCENES

from ..eventually import eventually
from .system import ROOT

pytestmark = pytest.mark.long


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
    assert "Web UI, for as long as this runs: http://127.0.0.1:" in done.stderr  # said first, so that one can look
    assert "next: `make up`" in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.xdist_group("demo")
def test_a_demo_that_is_told_to_end_takes_everything_down(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "starter.py"), "demo"]
    demo = subprocess.Popen(command, cwd=tmp_path, env=os.environ | {"TMPDIR": str(tmp_path)}, stderr=subprocess.PIPE)
    eventually(lambda: demo.poll() is not None or list(tmp_path.glob("*/temporal.db")), "its Temporal server starts")
    assert demo.poll() is None, demo.communicate()
    [folder] = tmp_path.iterdir()
    system = psutil.Process(demo.pid).children(recursive=True)
    assert len(system) == 2  # the worker and its Temporal server
    demo.terminate()
    _, said = demo.communicate(timeout=30)
    assert demo.returncode == 130
    assert b"Traceback" not in said
    assert psutil.wait_procs(system, timeout=10)[1] == []
    assert not folder.exists()


def test_the_demo_shows_at_least_eight_different_ends() -> None:
    assert len({(scene.state, scene.code) for scene in SCENES}) >= 8
