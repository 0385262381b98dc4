"""`python -m temporal_saga`: status and desk of anyone's sagas, with the SDK's own payload converter."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from temporalio import activity, workflow
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker

from temporal_saga import CancellableSagaWorkflow, Saga, SagaPlugin, TransactionLog, register_search_attributes
from temporal_saga.__main__ import main
from tests.eventually import eventually_async

from .policies import ONE_ATTEMPT

pytestmark = pytest.mark.processes


@dataclass
class Stay:
    transaction_id: str
    hotel: str


_shut: set[str] = set()
"""Hotels that do not answer."""


@activity.defn
async def book(stay: Stay) -> str:
    return stay.hotel


@activity.defn
async def cancel(stay: Stay) -> None:
    if stay.hotel in _shut:
        raise ConnectionError(f"{stay.hotel} is shut")


@activity.defn
async def pay(stay: Stay) -> None:
    raise ApplicationError("no money", type="DECLINED", non_retryable=True)


@workflow.defn
class StayWorkflow(CancellableSagaWorkflow):
    @workflow.init
    def __init__(self, stay: Stay) -> None:
        self.saga = Saga(stay.transaction_id, policies=ONE_ATTEMPT)

    @workflow.run
    async def run(self, stay: Stay) -> TransactionLog:
        async with self.saga as saga:
            await saga.step(book, stay, undo=cancel)
            await saga.step(pay, stay)
        return saga.log


@dataclass
class Run:
    code: int
    out: Any
    err: str


class Command:
    """The command against one server, in a thread of its own: it has its own event loop."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    async def __call__(self, *arguments: str) -> Run:
        code = await asyncio.to_thread(main, arguments)
        said = self._capsys.readouterr()
        return Run(code, json.loads(said.out) if said.out else None, said.err)


@pytest.fixture
async def client(embedded: str, monkeypatch: pytest.MonkeyPatch) -> Client:
    monkeypatch.setenv("TEMPORAL_ADDRESS", embedded)
    found = await Client.connect(embedded)
    await register_search_attributes(found)
    return found


@pytest.fixture
def command(client: Client, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(capsys)


@asynccontextmanager
async def parked_saga(client: Client) -> AsyncIterator[WorkflowHandle[Any, Any]]:
    """A saga whose undo does not get through, with workers that run within the block."""
    name = f"stay-{uuid4()}"
    _shut.add(name)
    async with Worker(
        client, task_queue=name, workflows=[StayWorkflow], activities=[book, cancel, pay], plugins=[SagaPlugin()]
    ):
        handle = await client.start_workflow(StayWorkflow.run, Stay(name, name), id=name, task_queue=name)

        async def is_parked() -> bool:
            return bool(await handle.query(StayWorkflow.parked))

        await eventually_async(is_parked, "the undo is parked")
        yield handle
    _shut.discard(name)


@pytest.fixture
async def parked(client: Client) -> AsyncIterator[WorkflowHandle[Any, Any]]:
    async with parked_saga(client) as handle:
        yield handle


async def test_a_parked_call_of_anyones_saga_is_listed_shown_and_repaired(
    command: Command, parked: WorkflowHandle[Any, Any], tmp_path: Path
) -> None:
    async def mine() -> list[dict[str, Any]]:
        listed = await command("desk", "list")
        return [call for call in listed.out if call["workflow"] == parked.id]

    [call] = await eventually_async(mine, "visibility shows the parked saga")
    assert (call["step"], call["kind"], call["error"]["code"]) == ("cancel", "undo", "SERVICE_UNAVAILABLE")
    assert (await command("desk", "show", parked.id, "cancel")).out["original"]["hotel"] == parked.id
    assert (await command("status", parked.id)).out["state"] == "PARKED"
    request = tmp_path / "request.json"
    request.write_text(json.dumps({"transaction_id": parked.id, "hotel": "the other one"}))
    assert (await command("desk", "fix", parked.id, "cancel", "--actor", "me", "--input", str(request))).code == 0

    async def state() -> str:
        return str((await command("status", parked.id)).out["state"])

    assert await eventually_async(state, "it ends", until=lambda found: found != "PARKED") == "ROLLED_BACK"


async def test_a_saga_without_a_worker_is_listed_beside_the_others(
    command: Command, client: Client, parked: WorkflowHandle[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with parked_saga(client) as silent:
        pass
    monkeypatch.setattr("temporal_saga.__main__._QUERY_TIMEOUT", timedelta(seconds=2))
    unserved = await command("status", silent.id)
    assert unserved.code == 4
    assert unserved.err.startswith(f"error: {silent.id}: no worker answers for it, so start one: ")
    both = {parked.id, silent.id}

    async def listed() -> dict[str, dict[str, Any]]:
        found = (await command("desk", "list")).out
        return {call["workflow"]: call for call in found if call["workflow"] in both}

    calls = await eventually_async(listed, "visibility shows both", until=lambda found: len(found) == len(both))
    assert calls[parked.id]["step"] == "cancel"
    assert calls[silent.id]["silent"].startswith("no worker answers for it, so start one: ")


async def test_a_skip_says_who_and_why(command: Command, parked: WorkflowHandle[Any, Any]) -> None:
    said = await command("desk", "skip", parked.id, "cancel", "--actor", "me", "--reason", "called them")
    assert (said.code, said.out) == (0, {"workflow": parked.id, "step": "cancel", "accepted": "skip"})

    async def state() -> str:
        return str((await command("status", parked.id)).out["state"])

    ended = await eventually_async(state, "it ends", until=lambda found: found != "PARKED")
    assert ended == "ROLLED_BACK_WITH_SKIPS"
    [*_, undo] = (await command("status", parked.id)).out["steps"]
    assert undo["note"] == "skipped by me: called them"


async def test_what_a_saga_refuses_is_one_line_and_exit_code_4(
    command: Command, parked: WorkflowHandle[Any, Any]
) -> None:
    refused = await command("desk", "retry", parked.id, "book")
    assert (refused.code, refused.err) == (4, "error: book is not parked; parked is cancel\n")
    unknown = await command("status", "no-such-saga")
    assert unknown.code == 4
    assert unknown.err.startswith("error: no-such-saga: ")
    assert unknown.err.count("\n") == 1
    never = await command("desk", "show", parked.id, "book")
    assert (never.code, never.err) == (4, f"error: {parked.id}: book was never parked\n")


async def test_a_saga_that_has_ended_says_so(command: Command, parked: WorkflowHandle[Any, Any]) -> None:
    assert (await command("desk", "skip", parked.id, "cancel", "--actor", "me", "--reason", "called them")).code == 0
    with pytest.raises(WorkflowFailureError):
        await parked.result()
    late = await command("desk", "retry", parked.id, "cancel")
    assert (late.code, late.err) == (
        4,
        f"error: {parked.id}: the saga has ended, nothing is left to decide; `status` shows how\n",
    )


def test_the_command_leaves_without_a_shutdown_of_the_interpreter() -> None:
    """The SDK's threads can crash a shutdown, and the exit code would be that of the crash."""
    program = (
        "import atexit, runpy, sys; atexit.register(print, 'shut down'); sys.argv[1:] = ['status', 'any'];"
        "runpy.run_module('temporal_saga', run_name='__main__')"
    )
    environment = os.environ | {"TEMPORAL_ADDRESS": "127.0.0.1:1"}
    said = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert (said.returncode, said.stdout) == (3, "")
    assert said.stderr.startswith("error: no Temporal at 127.0.0.1:1: ")


async def test_a_namespace_without_search_attributes_is_said_by_the_desk(
    bare_namespace: Client, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    monkeypatch.setenv("TEMPORAL_NAMESPACE", bare_namespace.namespace)
    said = await command("desk", "list")
    assert said.code == 4
    assert "lacks SagaState" in said.err
    assert "python -m temporal_saga register" in said.err
    assert (await command("register")).code == 0
    assert (await command("desk", "list")).out == []


async def test_an_empty_variable_counts_as_absent(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NAMESPACE", "API_KEY", "TLS"):
        monkeypatch.setenv(f"TEMPORAL_{name}", "")
    assert (await command("register")).code == 0


async def test_a_wrong_file_is_one_line_and_exit_code_2(command: Command, tmp_path: Path) -> None:
    missing = await command("desk", "fix", "any", "cancel", "--actor", "me", "--input", str(tmp_path / "none.json"))
    assert missing.code == 2
    assert "none.json" in missing.err
    assert missing.err.count("\n") == 1


async def test_no_server_is_one_line_and_exit_code_3(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TEMPORAL_ADDRESS", "127.0.0.1:1")
    said = await Command(capsys)("status", "any")
    assert said.code == 3
    assert said.err.startswith("error: no Temporal at 127.0.0.1:1: ")
    assert said.err.count("\n") == 1
