"""Processes that die: what was under way goes on when they are back."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from ..eventually import eventually
from .system import System

pytestmark = pytest.mark.xdist_group("crashes")


def _wait_for_the_first_order(system: System) -> None:
    """Before it, a command that finds no server says so and ends; after it, whenever the blow falls, it goes on."""
    log = system.folder / "worker.log"
    eventually(lambda: '"order.create' in log.read_text(), "an order has begun", timeout_s=60)


@pytest.mark.parametrize(
    ("count", "options"),
    [(40, ("--concurrency", "20")), (500, ("--mode", "batch", "--batch-size", "25", "--concurrency", "4"))],
    ids=["single lane", "batch lane"],
)
def test_killing_server_and_workers_in_the_middle_loses_nothing(
    fresh_system: System, count: int, options: tuple[str, ...]
) -> None:
    fresh_system.start()
    bulk = fresh_system.start_command("bulk", "--count", str(count), *options, "--json")
    _wait_for_the_first_order(fresh_system)
    fresh_system.stop(signal.SIGKILL)
    fresh_system.start()
    placed = bulk.answer()
    assert placed.code == 0, placed.err
    assert placed.err.count("Temporal does not answer") <= 1  # none, if it is back before the SDK says so
    assert len(placed.err.splitlines()) <= 3, placed.err  # that, and the progress bar
    assert placed.document["states"] == {"CONFIRMED": count}
    audit = fresh_system.run("audit", "--json")
    assert (audit.code, audit.document["orders"]) == (0, count), audit.out


def test_sigterm_drains_and_exits_with_0(fresh_system: System) -> None:
    fresh_system.start()
    assert fresh_system.run("place", "--item", "BOOK-1:1").code == 0
    assert fresh_system.stop() == 0


def test_a_port_that_is_taken_is_said_in_one_line(fresh_system: System) -> None:
    fresh_system.start()
    second = System(fresh_system.folder, port=fresh_system.port)
    with pytest.raises(AssertionError, match=f"port {second.port} is taken"):
        second.start()


def test_a_second_server_on_the_same_state_is_refused_in_one_line(fresh_system: System) -> None:
    fresh_system.start()
    second = System(fresh_system.folder)
    with pytest.raises(AssertionError, match=f"--data {second.folder}: another server keeps its state there"):
        second.start()


def test_the_embedded_server_is_served_whatever_other_temporal_the_environment_names(
    fresh_system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as environment:
        environment.setenv("TEMPORAL_NAMESPACE", "shop")
        environment.setenv("TEMPORAL_API_KEY", "secret")
        environment.setenv("TEMPORAL_TLS", "true")
        fresh_system.start()
    assert fresh_system.run("place", "--item", "BOOK-1:1").code == 0


@pytest.mark.parametrize("place", ["data", "database"])
def test_a_folder_that_cannot_be_written_is_said_in_one_line(tmp_path: Path, place: str) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("a file, where a folder is wanted")
    system = System(tmp_path)
    if place == "data":
        system.options = ["--data", str(blocked / "data")]
    else:
        system.folder = tmp_path / "ok"
        system.folder.mkdir()
        (system.folder / "payment.db").mkdir()
    with pytest.raises(AssertionError, match="error: "):
        system.start()
    assert "Traceback" not in (system.folder / "worker.log").read_text()


@pytest.mark.chaos
def test_batches_bring_every_order_to_an_end_where_a_fifth_of_all_attempts_fails(fresh_system: System) -> None:
    fresh_system.options = ["--fault-rate", "0.2", "--fault-seed", "7"]
    fresh_system.start()
    answer = fresh_system.run("bulk", "--count", "300", "--mode", "batch", "--batch-size", "15", "--json")
    assert answer.code == 0, answer
    assert sum(answer.document["states"].values()) == 300
    assert any(line.get("event") == "fault" for line in fresh_system.log_lines())
    audit = fresh_system.run("audit", "--json")
    assert (audit.code, audit.document["orders"]) == (0, 300), audit.out
