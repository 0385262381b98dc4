from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from bench.contender import CONTENDERS, Contender
from bench.figures import Results
from bench.measure import measure
from bench.plan import ALL_REFUSED, FIFTY, ONE, QUICK_ORDERS, SOME_REFUSED
from bench.processes import ROOT, BenchFailed
from bench.system import System

from .programs import contender

_RUN_TIMEOUT_S = 110


def measured(*contenders: Contender, rounds: int = 3) -> Results:
    return measure(contenders, rounds, quick=True, say=lambda _: None)


def test_contenders_take_turns() -> None:
    results = measured(contender("a"), contender("b"), rounds=2)
    turns = [(sample.contender, sample.round) for sample in results.samples if sample.scenario == ONE.name]
    assert turns == [("a", 1), ("b", 1), ("a", 2), ("b", 2)]


def test_every_scenario_is_measured_in_every_round() -> None:
    results = measured(contender("a"))
    scenarios = [sample.scenario for sample in results.samples]
    assert scenarios == [ONE.name, FIFTY.name, ALL_REFUSED.name] * 3
    assert all(sample.load.orders == QUICK_ORDERS for sample in results.samples)


def test_orders_that_end_otherwise_than_they_must_have_no_figures(tmp_path: Path) -> None:
    with System(contender("liar", "confirms-everything"), tmp_path) as system:
        system.measure(FIFTY, 40, round_number=1)
        with pytest.raises(BenchFailed, match=r"40 orders ended \{'CONFIRMED': 40\}"):
            system.measure(SOME_REFUSED, 40, round_number=1)


def test_a_contender_that_does_not_start_is_named_with_its_error_and_the_others_are_measured() -> None:
    results = measured(contender("broken", "broken"), contender("sound"))
    assert list(results.failed) == ["broken"]
    assert "cannot find my database" in results.failed["broken"]
    assert {sample.contender for sample in results.samples} == {"sound"}


def test_a_contender_that_cannot_take_part_is_left_out_with_its_reason() -> None:
    results = measured(contender("peer", missing="not installed"), contender("sound"))
    assert results.left_out == {"peer": "not installed"}
    assert {sample.contender for sample in results.samples} == {"sound"}


@pytest.mark.parametrize("peer", ["DBOS on SQLite", "DBOS on PostgreSQL", "Restate"])
def test_a_peer_that_is_not_installed_is_said_with_the_remedy(peer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    [found] = [each for each in CONTENDERS if each.name == peer]
    monkeypatch.setattr("bench.contender.find_spec", lambda _: None)
    assert "is not installed: `make .venv/peers` installs it" in (found.missing() or "")


@pytest.mark.chaos
def test_the_command_measures_and_leaves_nothing_behind(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    folders = tmp_path / "folders"
    folders.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "bench", "--quick", "--only", "bare", "--json", str(figures)],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(folders)},
        capture_output=True,
        text=True,
        timeout=_RUN_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    results = Results.model_validate(json.loads(figures.read_text()))
    assert {sample.scenario for sample in results.samples} == {ONE.name, FIFTY.name}
    for sample in results.samples:
        assert sample.scenario in done.stdout
        assert sample.footprint is not None
        assert (sample.footprint.workflows, sample.footprint.actions) == (1, 10)  # its start and nine activities
        assert sample.server_ms > 0
        assert sample.worker_ms > 0
    assert list(folders.iterdir()) == []
    commands = [" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]
    assert [command for command in commands if str(folders) in command] == []
