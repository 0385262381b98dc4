"""Orders whose workflow is closed from outside: found from the services' own records, and brought to a truthful end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from temporalio.client import Client

from .system import System

pytestmark = pytest.mark.xdist_group("system")

Make = Callable[..., dict[str, Any]]


async def _terminate_once(system: System, placed: dict[str, Any], step: str) -> None:
    """Place the order and terminate its workflow while `step` runs."""
    system.place(placed, "--no-wait")
    for _ in range(100):
        log = system.run("status", placed["order_id"], "--json").document
        if any(entry["step"] == step for entry in log["steps"]):
            break
        await asyncio.sleep(0.1)
    client = await Client.connect(f"127.0.0.1:{system.port}")
    await client.get_workflow_handle(f"order/{placed['order_id']}").terminate("a slip of the hand")


async def test_a_terminated_order_is_found_by_the_audit_and_rolled_back_by_the_sweep(
    system: System, order: Make
) -> None:
    placed = order("slow")
    await _terminate_once(system, placed, "shipping.schedule")
    audit = system.run("audit", "--json")
    assert audit.code == 5
    assert [v["subject"] for v in audit.document["violations"]] == [placed["order_id"]]
    assert audit.document["checks"]["orphans"] == 1

    swept = system.run("sweep", "--json")
    assert swept.code == 0, swept
    assert swept.document == {"found": 1, "finished": 1, "orders": [placed["order_id"]]}
    ended = system.run("status", placed["order_id"], "--json")
    assert ended.code == 1
    assert (ended.document["state"], ended.document["error"]["code"]) == ("ROLLED_BACK", "ABANDONED")
    assert system.run("audit").code == 0
    await asyncio.sleep(4)  # the delayed booking of the terminated run wakes up now, and must be refused
    assert system.run("audit").code == 0
    assert system.run("sweep", "--json").document["found"] == 0


async def test_an_order_terminated_past_the_pivot_is_finished_by_the_sweep(system: System, order: Make) -> None:
    placed = order("capture")
    await _terminate_once(system, placed, "payment.capture")
    assert system.run("audit").code == 5
    swept = system.run("sweep", "--json")
    assert swept.document == {"found": 1, "finished": 1, "orders": [placed["order_id"]]}
    assert system.run("status", placed["order_id"], "--json").document["state"] == "CONFIRMED"
    assert system.run("audit").code == 0


def test_a_sweep_leaves_running_orders_alone(system: System, order: Make) -> None:
    placed = order("slow")
    system.place(placed, "--no-wait")
    assert system.run("sweep", "--json").document["found"] == 0
    assert system.place(placed).document["state"] == "CONFIRMED"
