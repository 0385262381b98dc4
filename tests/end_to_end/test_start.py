"""The start of a system: what it waits for, and what it refuses: a taken port, the state of another Temporal."""

import asyncio
import fcntl
import os
import signal
import socket
import sqlite3
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from structlog.testing import capture_logs
from temporalio import activity
from temporalio.api.enums.v1 import DescribeTaskQueueMode
from temporalio.api.taskqueue.v1 import PollerInfo
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest, DescribeTaskQueueResponse
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import Worker

from runtime import embedded, readiness
from runtime.connection import Unreachable
from runtime.embedded import free_port
from runtime.readiness import until_answered, until_served
from runtime.settings import SettingsError
from runtime.stopping import stop_of
from workflows.sweep import SweepWorkflow

from .system import System

pytestmark = pytest.mark.long


@activity.defn
async def nothing() -> None: ...


@pytest.mark.xdist_group("system")
async def test_a_worker_waits_for_its_pollers_and_says_which_are_missing(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "SAY_EVERY_S", 0.2)
    client = await Client.connect(f"127.0.0.1:{system.port}", identity="a worker that starts")
    with capture_logs() as lines:
        waiting = asyncio.create_task(until_served(client, ["slow"]))
        await asyncio.wait([waiting], timeout=1)
        assert not waiting.done()
        async with Worker(client, task_queue="slow", workflows=[SweepWorkflow], activities=[nothing]):
            await asyncio.wait_for(waiting, 20)
    assert {line["missing"] for line in lines} == {"pollers of slow"}
    assert 2 <= len(lines) < 40


class _QueueOfTwoPartitions:
    """The answers of a server whose queue has two partitions, of which this process polls the second."""

    async def describe_task_queue(self, request: DescribeTaskQueueRequest) -> DescribeTaskQueueResponse:
        answer = DescribeTaskQueueResponse(pollers=[PollerInfo(identity="another")])
        if request.api_mode == DescribeTaskQueueMode.DESCRIBE_TASK_QUEUE_MODE_ENHANCED and request.report_pollers:
            for kind in request.task_queue_types:
                answer.versions_info[""].types_info[kind].pollers.add(identity="ours")
        return answer


async def test_a_worker_is_ready_whichever_partition_of_its_queue_it_polls() -> None:
    client = SimpleNamespace(identity="ours", namespace="default", workflow_service=_QueueOfTwoPartitions())
    await asyncio.wait_for(until_served(cast("Client", client), ["payment"]), 5)


async def test_a_temporal_that_is_busy_is_asked_again_and_an_answer_is_taken() -> None:
    left = [RPCStatusCode.RESOURCE_EXHAUSTED, RPCStatusCode.UNAVAILABLE]

    async def busy() -> str:
        if left:
            raise RPCError("busy", left.pop(), b"")
        return "done"

    assert await until_answered("the schedule", busy) == "done"
    left.append(RPCStatusCode.PERMISSION_DENIED)
    with pytest.raises(RPCError):
        await until_answered("the schedule", busy)


async def test_a_signal_ends_a_start_that_waits_for_ever() -> None:
    async def start() -> None:
        with stop_of(asyncio.current_task()):
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.Event().wait()

    ended, _ = await asyncio.wait([asyncio.create_task(start())], timeout=2)
    assert ended


async def test_a_signal_lets_a_worker_that_has_started_drain() -> None:
    drained = False

    async def serve() -> None:
        nonlocal drained
        with stop_of(asyncio.current_task()) as stop:
            asyncio.get_running_loop().call_later(0.05, os.kill, os.getpid(), signal.SIGTERM)
            await stop.wait()
            await asyncio.sleep(0)
            drained = True

    await asyncio.wait_for(asyncio.create_task(serve()), 2)
    assert drained


def test_a_system_keeps_its_state_in_a_folder_of_any_name_and_starts_with_no_other_state(tmp_path: Path) -> None:
    system = System(tmp_path / "my%20data #1?", ["--fault-rate", "1"])
    system.folder.mkdir()
    # The embedded server is served, whatever other Temporal the environment names.
    system.worker_environment = {"TEMPORAL_NAMESPACE": "shop", "TEMPORAL_API_KEY": "secret", "TEMPORAL_TLS": "true"}
    system.start()
    # There are goods and customers though every attempt is to fail.
    assert len(system.run("stock", "list", "--json").document) == 4
    assert len(system.run("account", "list", "--json").document) == 10
    assert system.stop() == 0, "SIGTERM drains"

    _bind_payment_to_another_temporal(system)
    system.options = []
    with pytest.raises(AssertionError, match="the payment database belongs to Temporal namespace 'default'"):
        system.start()
    system.options = ["--adopt-databases"]
    system.start()
    assert system.run("place", "--item", "BOOK-1:1", "--id", "o-1").code == 0
    assert system.run("audit", "--json").document["orders"] == 1
    _bind_payment_to_another_temporal(system)
    audit = system.run("audit")
    assert audit.code == 2
    assert audit.err.startswith("error: the payment database belongs to Temporal namespace 'default' (id another, ")
    assert audit.err.count("\n") == 1
    assert system.stop() == 0

    assert [found.name for found in tmp_path.iterdir()] == [system.folder.name]
    (system.folder / "payment.db").unlink()
    system.options = []
    with pytest.raises(AssertionError, match=r"payment.db is missing, though this Temporal knows orders; .*runbook"):
        system.start()
    assert system.worker is not None
    assert system.worker.wait() == 2


def _bind_payment_to_another_temporal(system: System) -> None:
    with closing(sqlite3.connect(system.folder / "payment.db")) as database, database:
        database.execute("UPDATE temporal_binding SET namespace_id = 'another'")


@pytest.mark.xdist_group("system")
def test_a_port_that_is_taken_is_an_error_in_one_line(system: System, tmp_path: Path) -> None:
    second = System(tmp_path, port=system.port)
    with pytest.raises(AssertionError, match=f"error: port {second.port} is taken"):
        second.start()
    assert (tmp_path / "worker.log").read_text().count("\n") == 1


@pytest.mark.xdist_group("system")
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


async def test_a_server_that_finds_a_port_of_its_own_choice_taken_is_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _fail_first(1, tmp_path, monkeypatch)
    async with embedded.embedded_server(port=free_port(), ui_port=free_port(), data=tmp_path) as server:
        assert await Client.connect(server.address)


async def test_a_server_that_never_starts_is_said_with_its_own_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _fail_first(100, tmp_path, monkeypatch)
    never = embedded.embedded_server(port=free_port(), ui_port=free_port(), data=tmp_path)
    with pytest.raises(Unreachable, match=r"did not start: Error: address already in use; its log is .*temporal\.log"):
        await never.__aenter__()
    assert (tmp_path / "temporal.log").read_text().count("Error") == 3


def _fail_first(times: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the server's first starts fail as they do if another process takes a port that it has just chosen."""
    program = folder / "temporal"
    program.write_text(f"""#!/bin/sh
        echo >> starts
        if [ $(wc -l < starts) -le {times} ]; then echo 'Error: address already in use' >&2; exit 1; fi
        exec {embedded.find_cli()} "$@"
    """)
    program.chmod(0o755)
    monkeypatch.setattr(embedded, "find_cli", lambda: str(program))


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
