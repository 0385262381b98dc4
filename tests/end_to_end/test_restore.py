"""Service databases that were restored from a backup, while Temporal was not: the runbook's commands repair them."""

import json
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import Any

import pytest

from tests.docs.runbook import commands_with

from ..eventually import eventually
from ..orders import line
from .conftest import Make
from .processes import temporal
from .system import System

pytestmark = pytest.mark.long

RESTORE = pytest.mark.xdist_group("restore")
SHARED = pytest.mark.xdist_group("another system")

IN_THE_BULK = 12
BROKEN = """
[[fault]]
transaction = "order/*-stuck"
operation = "payment.cancel"
kind = "refuse"

[[fault]]
transaction = "order/*-held"
operation = "shipping.dispatch"
kind = "refuse"
"""


def _run_block(system: System, word: str) -> None:
    """Run the runbook's commands with `word`, unchanged, in a folder whose `data` is the system's."""
    here = system.folder
    (here / "data").unlink(missing_ok=True)
    (here / "data").symlink_to(here)
    (here / ".venv/bin").mkdir(parents=True, exist_ok=True)
    (here / ".venv/bin/python").unlink(missing_ok=True)
    (here / ".venv/bin/python").symlink_to(sys.executable)
    subprocess.run(["bash", "-euc", commands_with(word)], cwd=here, check=True, timeout=60)  # noqa: S607


def _restart(system: System, *options: str) -> None:
    assert system.stop() == 0
    system.options = list(options)
    system.start()


def _ends_as(system: System, order_id: str, state: str) -> None:
    def stands() -> str:
        return str(system.run("status", order_id, "--json").document["state"])

    eventually(stands, f"{order_id} ends {state}", until=state.__eq__)


def _parked_with(system: System, code: str) -> None:
    def codes() -> list[str]:
        return [call["error"]["code"] for call in system.run("desk", "list", "--json").document]

    eventually(codes, f"one call is parked with {code}", until=[code].__eq__)


def _differing(system: System) -> set[str]:
    audit = system.run("audit", "--json")
    assert audit.code == (0 if audit.document["clean"] else 5)
    return {violation["subject"] for violation in audit.document["violations"]}


@RESTORE
@pytest.mark.chaos
@pytest.mark.timeout(300)  # three starts of a system, and about eighty commands
def test_restored_databases_are_named_by_the_audit_and_brought_back_by_redo(fresh_system: System, order: Make) -> None:
    faults = fresh_system.folder / "faults.toml"
    faults.write_text(BROKEN)
    fresh_system.options = ["--faults", str(faults)]
    fresh_system.start()
    before, after, held = order("before"), order("after"), order("held")
    stuck = order("stuck", lines=line("RARE-1"))
    assert fresh_system.run("stock", "set", "RARE-1", "0").code == 0
    assert fresh_system.place(before).document["state"] == "CONFIRMED"
    assert fresh_system.place(stuck).document["state"] == "PARKED"
    bulk = fresh_system.start_command("bulk", "--count", str(IN_THE_BULK), "--concurrency", "4", "--json")
    _run_block(fresh_system, "VACUUM INTO")
    assert bulk.answer().document["states"] == {"CONFIRMED": IN_THE_BULK}

    faults.write_text(BROKEN.partition("\n\n")[2])  # payment works again, the courier does not
    _restart(fresh_system, "--faults", str(faults))
    fresh_system.run("desk", "retry", "--all", "--code", "SERVICE_UNAVAILABLE")
    assert fresh_system.place(stuck).document["state"] == "ROLLED_BACK"
    assert fresh_system.place(after).document["state"] == "CONFIRMED"
    assert fresh_system.place(held).document["state"] == "PARKED"
    reserve = {"commit": "inventory.reserve", "rollback": "inventory.release"}
    goods = {"name": "goods", "input": {"order_id": "x", "lines": [{"sku": "BOOK-1", "quantity": 1}]}} | reserve
    reserving = json.dumps({"transaction_id": after["order_id"], "steps": [goods]})
    assert fresh_system.run("transaction", "-", stdin=reserving).code == 0
    assert _differing(fresh_system) == set()
    sold = _stock(fresh_system)

    assert fresh_system.stop() == 0
    _run_block(fresh_system, "cp backup/")
    fresh_system.options = []
    fresh_system.start()
    named = _differing(fresh_system)
    assert {after["order_id"], stuck["order_id"], f"transaction/{after['order_id']}"} <= named
    assert not {before["order_id"], held["order_id"]} & named
    fresh_system.run("desk", "retry", "--all")
    _parked_with(fresh_system, "NOTHING_TO_ACT_ON")
    reset = ["workflow", "reset", "--workflow-id", f"order/{held['order_id']}"]
    temporal(fresh_system, *reset, "--type", "FirstWorkflowTask", "--reason", "restore")
    _ends_as(fresh_system, held["order_id"], "CONFIRMED")
    for order_id in named:
        expected = 1 if order_id == stuck["order_id"] else 0
        assert fresh_system.run("redo", order_id).code == expected
    assert _differing(fresh_system) == set()
    assert _stock(fresh_system) == sold, "no unit is sold twice, and no sold unit is in stock"


@RESTORE
@pytest.mark.chaos
def test_redo_brings_back_orders_of_a_batch_and_of_a_choreography(fresh_system: System, order: Make) -> None:
    fresh_system.start()
    _run_block(fresh_system, "VACUUM INTO")
    known, forgotten = ([order(), order(), order(customer_id="nobody")] for _ in range(2))
    _place_in_a_batch(fresh_system, known[0], known[2])
    assert fresh_system.place(known[1], "--mode", "choreography").code == 0
    order_service = fresh_system.folder / "order.db"
    with closing(sqlite3.connect(order_service)) as database:
        database.execute("VACUUM INTO ?", [str(fresh_system.folder / "later.db")])
    _place_in_a_batch(fresh_system, forgotten[0], forgotten[2])
    assert fresh_system.place(forgotten[1], "--mode", "choreography").code == 0
    sold = _stock(fresh_system)

    assert fresh_system.stop() == 0
    _run_block(fresh_system, "cp backup/")
    shutil.copy(fresh_system.folder / "later.db", order_service)
    fresh_system.start()
    assert _differing(fresh_system) == {each["order_id"] for each in known[:2]}
    ends = [fresh_system.run("redo", each["order_id"]).code for each in [*known, forgotten[1]]]
    assert ends == [0, 0, 1, 0]
    unknown = fresh_system.run("redo", forgotten[0]["order_id"], "--json")
    assert (unknown.code, unknown.document["error"]["code"]) == (2, "UNKNOWN_ORDER")
    assert "docs/runbook.md" in unknown.err
    assert fresh_system.place(forgotten[0]).code == 0
    start = ["workflow", "start", "--type", "OrderWorkflow", "--workflow-id", f"order/{forgotten[2]['order_id']}"]
    inputs = ["--input", json.dumps(forgotten[2]), "--input", '{"recovering": true}']
    temporal(fresh_system, *start, "--task-queue", "orders", *inputs)
    _ends_as(fresh_system, forgotten[2]["order_id"], "ROLLED_BACK")
    assert _differing(fresh_system) == set()
    assert _stock(fresh_system) == sold
    assert fresh_system.run("redo", known[0]["order_id"], "--yes").code == 0, "once more does no harm"
    assert _stock(fresh_system) == sold


def _place_in_a_batch(system: System, *orders: dict[str, Any]) -> None:
    lines = "\n".join(map(json.dumps, orders))
    assert system.run("bulk", "-", "--mode", "batch", stdin=lines).code == 0


def _stock(system: System, sku: str = "BOOK-1") -> int:
    levels = {level["sku"]: level for level in system.run("stock", "list", "--json").document}
    return int(levels[sku]["on_hand"])


@SHARED
def test_redo_is_for_orders_that_have_ended(system: System, order: Make) -> None:
    slow = order("slow")
    assert system.place(slow, "--no-wait").code == 0
    refused = system.run("redo", slow["order_id"])
    assert (refused.code, refused.err) == (
        2,
        f"error: {slow['order_id']} is under way; redo is for orders that have ended\n",
    )
    assert system.place(slow).document["state"] == "CONFIRMED"


@SHARED
def test_redo_of_what_no_service_has_forgotten_changes_nothing(system: System, order: Make) -> None:
    assert system.run("stock", "set", "REDO-1", "5").code == 0
    placed = order(lines=line("REDO-1", 2))
    assert system.place(placed).document["state"] == "CONFIRMED"
    assert system.run("redo", placed["order_id"], "--yes", "--json").document["state"] == "CONFIRMED"
    assert _stock(system, "REDO-1") == 3
    assert _differing(system) == set()
