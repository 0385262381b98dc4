"""Processes that are killed: orders under way are finished after the restart."""

from __future__ import annotations

import asyncio
import fcntl
import signal
import socket
from pathlib import Path

import pytest

from runtime import embedded
from runtime.embedded import free_port
from runtime.settings import SettingsError

from ..eventually import eventually
from .system import System

CRASHES = pytest.mark.xdist_group("crashes")
SHARED = pytest.mark.xdist_group("system")


def _wait_for_the_first_order(system: System) -> None:
    """Wait until a service has been called: from then on `bulk` survives the loss of its server, at any moment."""
    log = system.folder / "worker.log"
    eventually(lambda: '"order.create' in log.read_text(), "an order has begun", timeout_s=60)


@CRASHES
@pytest.mark.parametrize(
    ("count", "options"),
    [(24, ("--concurrency", "12")), (250, ("--mode", "batch", "--batch-size", "25", "--concurrency", "4"))],
    ids=["saga", "batch"],
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


@SHARED
def test_a_port_that_is_taken_is_an_error_in_one_line(system: System, tmp_path: Path) -> None:
    second = System(tmp_path, port=system.port)
    with pytest.raises(AssertionError, match=f"error: port {second.port} is taken"):
        second.start()
    assert (tmp_path / "worker.log").read_text().count("\n") == 1


@SHARED
async def test_a_second_server_on_the_same_state_is_refused(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "_STOP_TIMEOUT_S", 0.2)
    second = embedded.embedded_server(port=free_port(), ui_port=free_port(), data=system.folder)
    with pytest.raises(SettingsError, match=f"--data {system.folder}: another server keeps its state there"):
        await second.__aenter__()


async def test_a_restart_waits_for_the_server_of_a_killed_parent_which_still_holds_its_port(tmp_path: Path) -> None:
    port, loop = free_port(), asyncio.get_running_loop()
    with (tmp_path / "temporal.log").open("ab") as log, socket.create_server(("127.0.0.1", port)) as dying:
        fcntl.flock(log, fcntl.LOCK_EX)
        loop.call_later(0.3, dying.close)
        loop.call_later(0.3, log.close)
        async with embedded.embedded_server(port=port, ui_port=free_port(), data=tmp_path) as server:
            assert server.address == f"127.0.0.1:{port}"


@CRASHES
def test_the_embedded_server_is_served_whatever_other_temporal_the_environment_names(
    fresh_system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as environment:
        environment.setenv("TEMPORAL_NAMESPACE", "shop")
        environment.setenv("TEMPORAL_API_KEY", "secret")
        environment.setenv("TEMPORAL_TLS", "true")
        fresh_system.start()
    assert fresh_system.run("place", "--item", "BOOK-1:1").code == 0
    assert fresh_system.stop() == 0, "SIGTERM drains"


@pytest.mark.parametrize("place", ["data", "database"])
def test_a_folder_that_cannot_be_written_is_said_in_one_line(tmp_path: Path, place: str) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("a file in place of a folder")
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


@CRASHES
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
