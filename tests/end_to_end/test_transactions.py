"""Transactions given as data on the command line: confirmed, refused, waiting in a lane, with a user's own service."""

import asyncio
import json
import subprocess
import sys
from typing import Any
from uuid import uuid4

import pytest
from temporalio import activity
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker

from contracts.ids import lane_id
from contracts.lane import MAX_WAITING_BYTES, LaneEntry
from tests.tools import serial_lanes

from ..eventually import eventually_async
from .command import Answer
from .system import ROOT, System

pytestmark = pytest.mark.xdist_group("another system")


def _document(customer: str = "c-1", suffix: str = "x", **changes: Any) -> dict[str, Any]:
    name = f"x-{uuid4().hex[:8]}-{suffix}"
    charge = {"order_id": name, "customer_id": customer, "amount_minor": 100, "currency": "EUR"}
    goods = {"order_id": name, "lines": [{"sku": "BOOK-1", "quantity": 1}]}
    steps = [
        {"name": "goods", "commit": "inventory.reserve", "rollback": "inventory.release", "input": goods},
        {"name": "money", "commit": "payment.authorize", "rollback": "payment.cancel", "input": charge},
    ]
    return {"transaction_id": name, "steps": [step | {"timeout_s": 30} for step in steps]} | changes


def _run(system: System, document: Any, *options: str) -> Answer:
    text = document if isinstance(document, str) else json.dumps(document)
    lane = [] if "--concurrent" in options else ["--lane", f"l-{uuid4().hex[:8]}"]
    return system.run("transaction", "-", "--json", *lane, *options, stdin=text)


def test_a_transaction_is_confirmed_and_found_again(system: System) -> None:
    document = _document()
    name = document["transaction_id"]
    answer = _run(system, document)
    assert answer.code == 0, answer.err
    assert (answer.document["transaction_id"], answer.document["order_id"]) == (name, name)
    assert (answer.document["state"], answer.document["error"]) == ("CONFIRMED", None)
    steps = [(step["name"], step["step"], step["status"]) for step in answer.document["steps"]]
    assert steps == [("goods", "inventory.reserve", "DONE"), ("money", "payment.authorize", "DONE")]
    assert _run(system, document, "--concurrent").document == answer.document
    assert system.run("status", name, "--json").document == answer.document
    assert name in {listed["order_id"] for listed in system.run("list", "--limit", "1000", "--json").document}
    other = _run(system, document | {"steps": document["steps"][:1]})
    assert (other.code, other.document["error"]["code"]) == (2, "DUPLICATE_TRANSACTION")
    assert system.run("audit").code == 0


def test_a_refused_transaction_is_rolled_back_and_names_step_and_cause(system: System) -> None:
    answer = _run(system, _document("nobody"))
    assert answer.code == 1
    assert answer.document["state"] == "ROLLED_BACK"
    error = answer.document["error"]
    assert (error["code"], error["step"]) == ("PAYMENT_DECLINED", "payment.authorize")
    assert error["message"].startswith("step money: ")
    assert [s["step"] for s in answer.document["steps"] if s["kind"] == "undo"] == ["inventory.release"]
    assert system.run("audit").code == 0


def _misspelt() -> dict[str, Any]:
    document = _document()
    document["steps"][0]["commit"] = "inventory.reserv"
    return document


def _incomplete() -> dict[str, Any]:
    document = _document()
    del document["steps"][1]["input"]["currency"]
    return document


WRONG = {
    "a misspelt operation": (_misspelt(), "step goods: commit: inventory.reserv is no operation"),
    "an incomplete input": (_incomplete(), "step money: input.currency: is required and missing"),
    "a comma too many": ('{"transaction_id": "x", "steps": [],}', "not JSON"),
}


@pytest.mark.parametrize(("document", "why"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_transaction_is_refused_with_one_line_and_nothing_is_started(
    system: System, document: Any, why: str
) -> None:
    answer = _run(system, document)
    assert answer.code == 2
    assert answer.document["error"]["code"] == "INVALID_TRANSACTION"
    assert why in answer.err
    assert answer.err.count("\n") == 1
    if isinstance(document, dict):
        assert system.run("status", document["transaction_id"]).code == 2


async def test_cancel_is_for_orders_and_names_what_cancels_a_transaction(system: System) -> None:
    document = _document()
    name = document["transaction_id"]
    slow = {"name": "slow", "commit": "sloth.climb", "rollback": "sloth.descend", "queue": "sloths", "timeout_s": 3600}
    document["steps"].insert(1, slow)
    client = await serial_lanes.connect(system)
    async with Worker(client, task_queue="sloths", activities=[_climb, _descend]):
        assert _run(system, document, "--concurrent", "--no-wait").code == 0
        refused = await asyncio.to_thread(system.run, "cancel", name, "--reason", "changed my mind", "--json")
        assert (refused.code, refused.document["error"]["code"]) == (2, "CANCEL_REFUSED")
        assert f"temporal workflow cancel -w transaction/{name}" in refused.err
        await client.get_workflow_handle(f"transaction/{name}").cancel()
        ended = await asyncio.to_thread(_run, system, document, "--concurrent")
    assert (ended.code, ended.document["error"]["code"]) == (1, "CANCELLED")


@activity.defn(name="sloth.climb")
async def _climb(_: Any) -> None:
    await asyncio.Event().wait()


@activity.defn(name="sloth.descend")
async def _descend(_: Any) -> dict[str, Any]:
    return {}


@pytest.mark.long
async def test_a_full_lane_refuses_a_transaction_that_does_not_wait_and_a_closed_lane_is_entered_again(
    system: System,
) -> None:
    key, asked = f"l-{uuid4().hex[:8]}", _document()
    held = {"name": "held", "commit": "nobody.answers", "queue": "nobody", "timeout_s": 3600}
    holders = [_document(steps=[held]) for _ in range(2)]

    async def enter(document: dict[str, Any], *options: str) -> Answer:
        return await asyncio.to_thread(_run, system, document, "--lane", key, *options)

    client = await serial_lanes.connect(system)
    lane = client.get_workflow_handle(lane_id(key))
    assert (await enter(holders[0], "--no-wait")).code == 0
    await lane.signal("enter", LaneEntry(transaction_id="large", document={}, size=MAX_WAITING_BYTES - 100))
    refused = await enter(asked, "--no-wait")
    assert (refused.code, refused.document["error"]["code"]) == (4, "LANE_FULL")

    await lane.terminate("by mistake")
    assert (await enter(holders[1], "--no-wait")).code == 0
    waits = asyncio.create_task(enter(asked))
    await eventually_async(
        lambda: lane.query("ahead_of", asked["transaction_id"]), "it waits", until=lambda ahead: ahead is not None
    )
    await lane.terminate("again")
    answer = await waits
    assert (answer.code, answer.document["state"]) == (0, "CONFIRMED"), answer.err
    async with Worker(client, task_queue="nobody", activities=[_say_no]):  # terminated, they would be resumed
        for holder in holders:
            with pytest.raises(WorkflowFailureError):
                await client.get_workflow_handle(f"transaction/{holder['transaction_id']}").result()


@activity.defn(name="nobody.answers")
async def _say_no(_: Any) -> None:
    raise ApplicationError("no", type="NO", non_retryable=True)


@pytest.mark.long
def test_a_transaction_behind_a_parked_one_is_told_so_and_keeps_its_place(system: System) -> None:
    stuck, behind = _document("nobody", "stuck"), _document()
    lane, name = f"l-{uuid4().hex[:8]}", stuck["transaction_id"]
    parked = _run(system, stuck, "--lane", lane)
    assert (parked.code, parked.document["state"]) == (4, "PARKED")
    waits = _run(system, behind, "--lane", lane)
    assert (waits.code, waits.document["state"], waits.document["error"]["code"]) == (4, "RUNNING", "LANE_HELD")
    assert name in waits.document["error"]["message"]
    assert f"1 ahead in lane {lane}" in waits.err
    skip = ("desk", "skip", name, "inventory.release", "--reason", "counted by hand", "--actor", "ann")
    assert system.run(*skip).code == 0
    through = _run(system, behind, "--lane", lane)
    assert (through.code, through.document["state"]) == (0, "CONFIRMED")
    assert system.run("status", name, "--json").document["state"] == "ROLLED_BACK_WITH_SKIPS"


@pytest.mark.chaos
@pytest.mark.timeout(300)  # forty workflows, a kill and a restart, on a busy machine
def test_two_lanes_of_many_clients_keep_their_order_through_a_kill(fresh_system: System) -> None:
    names = ["left", "right"]
    fresh_system.options = ["--fault-rate", "0.05", "--fault-seed", "7"]
    fresh_system.start()
    asyncio.run(serial_lanes.submit_all(fresh_system, names, transactions=20, clients=10, kills=1))
    proof = asyncio.run(serial_lanes.prove(fresh_system, names, transactions=20))
    assert (proof.overlaps, proof.overtaken) == ([], [])
    assert sum(proof.ended.values()) == 40
    assert proof.ended["FAILED"] >= 2
    assert proof.lanes_together > 0
    audit = fresh_system.run("audit", "--json")
    assert audit.code == 0, audit.out


def test_a_service_of_a_users_own_takes_part_in_a_transaction(system: System) -> None:
    example = str(ROOT / "examples/own_service.py")
    serving = subprocess.Popen([sys.executable, example], env=system.environment)
    try:
        document = subprocess.run([sys.executable, example, "document"], capture_output=True, text=True, check=True)
        first = _run(system, document.stdout)
        assert (first.code, first.document["state"]) == (0, "CONFIRMED"), first.err
        again = _run(system, document.stdout.replace("evening-1", "evening-2"))
        assert (again.code, again.document["error"]["code"]) == (1, "SEAT_TAKEN")
    finally:
        serving.terminate()
        serving.wait(timeout=10)


@pytest.mark.long
async def test_a_terminated_transaction_is_an_orphan_until_it_is_submitted_again(system: System) -> None:
    document = _document(suffix="slow")
    name = document["transaction_id"]
    assert (await asyncio.to_thread(_run, system, document, "--concurrent", "--no-wait")).code == 0
    handle = (await serial_lanes.connect(system)).get_workflow_handle(f"transaction/{name}")
    await eventually_async(
        lambda: handle.query("transaction_log"), "its second step", until=lambda log: len(log["steps"]) >= 2
    )
    await handle.terminate("by mistake")

    async def violations() -> list[tuple[str, str]]:
        audit = await asyncio.to_thread(system.run, "audit", "--json")
        return [(v["subject"], v["invariant"]) for v in audit.document["violations"]]

    found = await eventually_async(violations, "visibility knows of the termination")
    assert found == [(f"transaction/{name}", "orphans")]
    again = await asyncio.to_thread(_run, system, document)
    assert (again.code, again.document["state"]) == (0, "CONFIRMED")
    assert (await asyncio.to_thread(system.run, "audit")).code == 0
