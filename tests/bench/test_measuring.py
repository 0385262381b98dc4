import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from bench.contender import CONTENDERS
from bench.figures import Results
from bench.measure import measure
from bench.plan import ALL_REFUSED, FIFTY, ONE, QUICK_ORDERS, SOME_REFUSED
from bench.processes import ROOT, BenchFailed
from bench.system import System

from .programs import contender

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("measuring")]

_RUN_TIMEOUT_S = 110


@pytest.fixture(scope="module")
def measured() -> Results:
    contenders = [
        contender("a"),
        contender("broken", "broken"),
        contender("peer", missing="not installed"),
        contender("b"),
    ]
    return measure(contenders, 2, quick=True, say=lambda _: None)


def test_contenders_take_turns_and_every_scenario_is_measured_in_every_round(measured: Results) -> None:
    turns = [(sample.round, sample.contender, sample.scenario) for sample in measured.samples]
    scenarios = [ONE.name, FIFTY.name, ALL_REFUSED.name]
    assert turns == [(turn, name, scenario) for turn in (1, 2) for name in ("a", "b") for scenario in scenarios]
    assert all(sample.load.orders == QUICK_ORDERS for sample in measured.samples)


def test_a_contender_that_does_not_start_is_named_with_its_error(measured: Results) -> None:
    assert list(measured.failed) == ["broken"]
    assert "cannot find my database" in measured.failed["broken"]


def test_a_contender_that_cannot_take_part_is_left_out_with_its_reason(measured: Results) -> None:
    assert measured.left_out == {"peer": "not installed"}


def test_orders_that_end_otherwise_than_they_must_have_no_figures(tmp_path: Path) -> None:
    with System(contender("liar", "confirms-everything"), tmp_path) as system:
        system.measure(FIFTY, 40, round_number=1)
        with pytest.raises(BenchFailed, match=r"40 orders ended \{'CONFIRMED': 40\}"):
            system.measure(SOME_REFUSED, 40, round_number=1)


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
