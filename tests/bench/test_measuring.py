from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from bench.contender import Contender
from bench.figures import Results
from bench.measure import Run
from bench.plan import ALL_REFUSED, FIFTY, ONE, QUICK_ORDERS, SOME_REFUSED, Budget, Counts
from bench.processes import ROOT, BenchFailed
from bench.system import System

from .programs import CONFIRMS_EVERYTHING, contender

_RUN_TIMEOUT_S = 110
DUMB = 'import sys; print("cannot find my database", file=sys.stderr); sys.exit(1)'


def measured(*contenders: Contender, runs: int = 3, seconds: float = 600) -> Results:
    return Run(contenders, runs, Counts(quick=True), Budget(seconds), lambda _: None).all()


def test_contenders_take_turns() -> None:
    results = measured(contender("a"), contender("b"), runs=2)
    turns = [(sample.contender, sample.run) for sample in results.samples if sample.scenario == ONE.name]
    assert turns == [("a", 1), ("b", 1), ("a", 2), ("b", 2)]


def test_every_scenario_is_measured_in_every_run_or_a_single_time() -> None:
    results = measured(contender("a"))
    assert {row.scenario: row.runs for row in results.rows} == {ONE.name: 3, FIFTY.name: 3, ALL_REFUSED.name: 1}
    assert all(sample.load.orders == QUICK_ORDERS for sample in results.samples)


def test_orders_that_end_otherwise_than_they_must_have_no_figures(tmp_path: Path) -> None:
    with System(contender("liar", CONFIRMS_EVERYTHING), tmp_path) as system:
        system.measure(FIFTY, 40, run_number=1, with_footprint=False)
        with pytest.raises(BenchFailed, match=r"40 orders ended \{'CONFIRMED': 40\}"):
            system.measure(SOME_REFUSED, 40, run_number=1, with_footprint=False)


def test_a_contender_that_does_not_start_is_named_with_its_error_and_the_others_are_measured() -> None:
    results = measured(contender("broken", program=DUMB), contender("sound"))
    assert list(results.failed) == ["broken"]
    assert "cannot find my database" in results.failed["broken"]
    assert {row.contender for row in results.rows} == {"sound"}


def test_a_contender_that_cannot_take_part_is_left_out_with_its_reason() -> None:
    missing = Contender("peer", contender("peer").serve, None, {FIFTY: 1}, missing=lambda: "not installed")
    results = measured(missing, contender("sound"))
    assert results.left_out == {"peer": "not installed"}
    assert {row.contender for row in results.rows} == {"sound"}


def test_what_the_time_does_not_allow_is_left_out_and_named() -> None:
    results = measured(contender("late"), runs=1, seconds=0)
    assert results.rows == []
    assert list(results.left_out) == ["late: run 1 of 1", "late: a single time"]


@pytest.mark.chaos
def test_the_command_measures_and_leaves_nothing_behind(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    folders = tmp_path / "folders"
    folders.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "bench", "--quick", "--only", "does nothing", "--json", str(figures)],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(folders)},
        capture_output=True,
        text=True,
        timeout=_RUN_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    results = Results.model_validate(json.loads(figures.read_text()))
    assert {row.scenario for row in results.rows} == {"one at a time", "50 at once", "200 at once"}
    for row in results.rows:
        assert row.scenario in done.stdout
        assert row.footprint is not None
        assert (row.footprint.events, row.footprint.actions) == (5, 1)
        assert row.cpu_by_process_ms.server > 0
        assert row.cpu_by_process_ms.worker > 0
    assert list(folders.iterdir()) == []
    commands = [" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]
    assert [command for command in commands if str(folders) in command] == []
