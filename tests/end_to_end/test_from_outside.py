"""Workflows that are paused, terminated or left without a worker, by other means than this project's commands.

Every command tells what happened to such an order and names the remedy; the tests run the remedy.
"""

import asyncio
import base64
import json
import os
import shlex
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from temporalio import workflow
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import PauseActivityRequest, PauseWorkflowExecutionRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import Worker

from client import handles, silence
from contracts.order import WORKFLOWS_QUEUE
from runtime import embedded
from runtime.embedded import embedded_server

from ..eventually import eventually, eventually_async
from ..orders import line
from . import processes
from .conftest import Make, pause_the_sweep
from .system import System

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("from outside")]

FAULTS = """
fault = [
  {transaction = "order/*-hang", operation = "shipping.schedule", kind = "hang"},
  {transaction = "order/*-stuck", operation = "payment.cancel", kind = "refuse", code = "SERVICE_UNAVAILABLE"},
]
"""
RARE = {"lines": line("NONE-LEFT")}


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A system on a server that allows workflows to be paused; its schedule of sweeps is paused."""
    folder = tmp_path_factory.mktemp("outside")
    (folder / "faults.toml").write_text(FAULTS)
    running = System(folder)
    with pytest.MonkeyPatch.context() as patch, asyncio.Runner() as runner:
        patch.setitem(embedded._TUNING, "frontend.WorkflowPauseEnabled", "true")
        server = embedded_server(port=running.port, ui_port=running.ui_port, data=folder / "temporal")
        runner.run(server.__aenter__())
        with processes.worker(running, "--faults", str(folder / "faults.toml")):
            runner.run(pause_the_sweep(running))
            for seed in (["stock", "set", "BOOK-1", "1000"], ["account", "set", "c-1", "1000000"]):
                assert running.run(*seed).code == 0
            yield running
        runner.run(server.__aexit__(None, None, None))


@pytest.fixture
async def client(system: System) -> AsyncIterator[Client]:
    yield await Client.connect(f"127.0.0.1:{system.port}")


async def _reaches(system: System, placed: dict[str, Any], step: str) -> None:
    async def steps() -> list[str]:
        found = await asyncio.to_thread(system.run, "status", placed["order_id"], "--json")
        return [entry["step"] for entry in found.document["steps"]]

    await eventually_async(steps, f"{step} is asked for", until=lambda names: step in names)


async def _pause(client: Client, placed: dict[str, Any]) -> None:
    request = PauseWorkflowExecutionRequest(
        namespace=client.namespace,
        workflow_id=f"order/{placed['order_id']}",
        identity="ann",
        reason="to look at it",
        request_id=str(uuid4()),
    )
    await client.workflow_service.pause_workflow_execution(request)


async def _run(system: System, *arguments: str, stdin: str = "") -> tuple[int, Any, str]:
    answer = await asyncio.to_thread(system.run, *arguments, "--json", stdin=stdin)
    assert "Traceback" not in answer.err
    return answer.code, answer.document, answer.err


def _do_as_told(system: System, message: str) -> None:
    """Run the `temporal …` command that a message names between backticks."""
    [command] = [part for part in message.split("`") if part.startswith("temporal ")]
    processes.temporal(system, *shlex.split(command)[1:])


def _rows(system: System, *options: str) -> dict[str, list[dict[str, Any]]]:
    """What `list` shows, by order id."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in system.run("list", "--limit", "1000", "--json", *options).document:
        rows.setdefault(row["order_id"], []).append(row)
    return rows


async def test_a_paused_order_is_open_and_every_command_tells_it_as_paused(
    system: System, client: Client, order: Make
) -> None:
    waits, parked = order("hang", deadline_s=3600), order("stuck", **RARE)
    name, workflow_id = waits["order_id"], f"order/{waits['order_id']}"
    await asyncio.to_thread(system.place, waits, "--no-wait")
    assert (await asyncio.to_thread(system.place, parked)).document["state"] == "PARKED"
    await _reaches(system, waits, "shipping.schedule")
    await _pause(client, waits)
    await _pause(client, parked)

    code, told, _ = await _run(system, "status", name)
    assert (code, told["state"], told["error"]["code"]) == (4, "RUNNING", "PAUSED")
    assert "by ann: to look at it" in told["error"]["message"]
    assert (await _run(system, "status", parked["order_id"]))[1]["state"] == "PARKED"

    rows = await asyncio.to_thread(
        eventually,
        lambda: _rows(system),
        "visibility knows of both pauses",
        until=lambda found: all(found[each["order_id"]][0]["paused"] for each in (waits, parked)),
    )
    assert [row["state"] for each in (waits, parked) for row in rows[each["order_id"]]] == ["RUNNING", "PARKED"]
    assert name in await asyncio.to_thread(_rows, system, "--state", "RUNNING")
    assert parked["order_id"] in await asyncio.to_thread(_rows, system, "--state", "PARKED")
    code, calls, said = await _run(system, "desk", "list")
    assert (code, calls) == (3, [])
    assert f"order/{parked['order_id']}: paused since" in said

    for refused in (["cancel", name, "--reason", "too slow"], ["desk", "retry", parked["order_id"], "payment.cancel"]):
        code, answer, _ = await _run(system, *refused)
        assert (code, answer["error"]["code"]) == (4, "PAUSED"), refused
    assert (await _run(system, "redo", name))[0] == 2
    again = await asyncio.to_thread(system.place, waits)
    assert (again.code, again.out[:1]) == (4, "{"), again
    assert again.document["error"]["code"] == "PAUSED"
    audit = await asyncio.to_thread(system.run, "audit", "--json")
    assert (audit.code, audit.document["violations"]) == (0, []), audit.err  # it is under way

    [about_parked] = [line for line in said.splitlines() if line.startswith(f"order/{parked['order_id']}")]
    for each in (told["error"]["message"], about_parked):
        await asyncio.to_thread(_do_as_told, system, each)
    assert (await _run(system, "cancel", name, "--reason", "too slow"))[0] == 0
    assert (await handles.describe(client, workflow_id)) is not None
    await client.get_workflow_handle(f"order/{parked['order_id']}").terminate("the test is over")


async def test_a_paused_activity_is_told_with_its_step_and_how_it_goes_on(
    system: System, client: Client, order: Make
) -> None:
    placed = order("hang", deadline_s=3600)
    workflow_id = f"order/{placed['order_id']}"
    await asyncio.to_thread(system.place, placed, "--no-wait")
    await _reaches(system, placed, "shipping.schedule")
    request = PauseActivityRequest(
        namespace=client.namespace,
        execution=WorkflowExecution(workflow_id=workflow_id),
        identity="ann",
        type="shipping.schedule",
        reason="the courier is on strike",
    )
    await client.workflow_service.pause_activity(request)

    code, told, _ = await _run(system, "status", placed["order_id"])
    assert (code, told["state"]) == (4, "RUNNING")
    assert (told["error"]["code"], told["error"]["step"]) == ("PAUSED", "shipping.schedule")
    [paused] = [entry["note"] for entry in told["steps"] if entry["step"] == "shipping.schedule"]
    assert paused == told["error"]["message"]
    assert "by ann: the courier is on strike" in paused

    _, _, said = await _run(system, "desk", "list")
    assert f"{workflow_id}: {paused}" in said
    await asyncio.to_thread(_do_as_told, system, paused)
    assert (await _run(system, "status", placed["order_id"]))[1]["error"] is None
    await _run(system, "cancel", placed["order_id"], "--reason", "too slow")


async def test_a_terminated_order_is_listed_once_as_closed_from_outside_until_it_has_a_new_run(
    system: System, client: Client, order: Make
) -> None:
    waits, parked = order("hang", deadline_s=3600), order("stuck", **RARE)
    names = waits["order_id"], parked["order_id"]
    await asyncio.to_thread(system.place, waits, "--no-wait")
    await asyncio.to_thread(system.place, parked)
    await _reaches(system, waits, "shipping.schedule")
    for each in names:
        await client.get_workflow_handle(f"order/{each}").terminate("a slip of the hand")

    for each, before in zip(names, ("RUNNING", "PARKED"), strict=True):
        code, told, _ = await _run(system, "status", each)
        assert (code, told["state"], told["error"]["code"]) == (4, "CLOSED_FROM_OUTSIDE", "CLOSED_FROM_OUTSIDE")
        assert "`starter.py sweep`" in told["error"]["message"]
        code, answer, _ = await _run(system, "cancel", each, "--reason", "too slow")
        assert (code, answer["error"]["code"]) == (4, "CLOSED_FROM_OUTSIDE")
        await asyncio.to_thread(
            eventually,
            lambda each=each: _rows(system, "--state", "CLOSED_FROM_OUTSIDE").get(each),
            "visibility knows of the termination",
        )
        assert each not in await asyncio.to_thread(_rows, system, "--state", before)
    assert {call["order_id"] for call in (await _run(system, "desk", "list"))[1]}.isdisjoint(names)
    code, answer, _ = await _run(system, "desk", "retry", names[1], "payment.cancel")
    assert (code, answer["error"]["code"]) == (2, "DESK_REFUSED")
    assert "was closed from outside; `starter.py sweep` brings it to its end" in answer["error"]["message"]

    assert (await _run(system, "redo", names[0]))[0] == 1  # as the sweep does, for one of them
    await asyncio.to_thread(
        eventually, lambda: _rows(system, "--state", "ROLLED_BACK").get(names[0]), "visibility knows the end"
    )
    assert len((await asyncio.to_thread(_rows, system))[names[0]]) == 1
    assert names[0] not in await asyncio.to_thread(_rows, system, "--state", "CLOSED_FROM_OUTSIDE")
    assert {row["order_id"] for row in (await _run(system, "desk", "list"))[1]} <= set(
        await asyncio.to_thread(_rows, system, "--state", "PARKED")
    )


def test_cancelling_what_was_rolled_back_before_is_refused_and_names_its_end(system: System, order: Make) -> None:
    refused = order(**RARE)
    system.place(refused)
    answer = system.run("cancel", refused["order_id"], "--reason", "too slow", "--json")
    assert (answer.code, answer.document["error"]["code"]) == (2, "ALREADY_ENDED")
    assert "ROLLED_BACK, UNKNOWN_SKU" in answer.document["error"]["message"]


async def test_a_workflow_task_that_fails_is_told_with_its_failure(system: System, client: Client) -> None:
    name = f"bug-{uuid4().hex[:8]}"
    handle = await client.start_workflow("NoSuchWorkflow", id=f"order/{name}", task_queue=WORKFLOWS_QUEUE)
    try:

        async def told() -> str:
            return str((await _run(system, "status", name))[1]["error"]["message"])

        await eventually_async(told, "its failure", until=lambda message: "its workflow task has failed" in message)
    finally:
        await handle.terminate("the test is over")


async def test_a_payload_key_that_differs_is_named_as_the_cause(system: System, client: Client, order: Make) -> None:
    placed, key = order(), base64.urlsafe_b64encode(os.urandom(32)).decode()
    started = await asyncio.to_thread(
        system.run, "place", "-", "--no-wait", "--json", stdin=json.dumps(placed), PAYLOAD_KEY=key
    )
    assert started.code == 0
    try:

        def told() -> str:
            return str(system.run("status", placed["order_id"], "--json", PAYLOAD_KEY=key).document["error"]["message"])

        message = await asyncio.to_thread(eventually, told, "the key", until=lambda words: "PAYLOAD_KEY" in words)
        assert "give the workers of orders the PAYLOAD_KEY that it was started with" in message
    finally:
        await client.get_workflow_handle(f"order/{placed['order_id']}").terminate("the test is over")


@workflow.defn(sandboxed=False)
class _Waits:
    @workflow.run
    async def run(self) -> None:
        await workflow.wait_condition(lambda: False)


async def test_a_missing_worker_and_one_that_does_not_answer_are_told_apart(system: System, client: Client) -> None:
    no_answer = RPCError("Timeout expired", RPCStatusCode.CANCELLED, b"")
    queue = f"queue-{uuid4().hex[:8]}"
    handle = await client.start_workflow("_Waits", id=queue, task_queue=queue)
    try:
        missing = await silence.why_silent(client, queue, no_answer)
        assert missing.message == f"no worker polls its queue `{queue}`; start `worker.py --service {queue}`"
        async with Worker(client, task_queue=queue, workflows=[_Waits], graceful_shutdown_timeout=timedelta()):
            await eventually_async(
                lambda: silence.why_silent(client, queue, no_answer),
                "Temporal sees the worker",
                until=lambda why: "it is busy, or has stopped since" in why.message,
            )
    finally:
        await handle.terminate("the test is over")
