"""Two builds that differ by a field of a request and of its reply, side by side under load, upgraded in each order."""

import json
import shutil
import sqlite3
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Any

import pytest

from tests.mutations.mutation import Edit

from ..orders import BOUNCES
from .command import Program
from .conftest import Make
from .processes import other_build, worker
from .system import ROOT, System

# Four starts of workers beside a system, on a busy machine.
pytestmark = [pytest.mark.long, pytest.mark.xdist_group("field apart"), pytest.mark.timeout(300)]


_LATER = (
    Edit(
        "contracts/shipping.py",
        "    ship_to: Address\n",
        "    ship_to: Address\n    insured: NotIdentifying[bool] = False\n",
    ),
    Edit("contracts/shipping.py", "    state: ShipmentState\n", '    state: ShipmentState\n    courier: str = "any"\n'),
    Edit("contracts/shipping.py", "message import Id,", "message import NotIdentifying, Id,"),
    Edit("workflows/order.py", "ship_to=placed.ship_to)", "ship_to=placed.ship_to, insured=True)"),
)
_STAGES = (("now", "later"), ("later", "now"))
"""The builds of the workflows and of the shipping service: the caller is older, then it is newer."""
_AWAY = shutil.ignore_patterns(".git", ".venv", "data", "tests", "docs", ".*_cache", ".hypothesis")
_ORDERS = 4


@pytest.fixture
def later(tmp_path: Path) -> Path:
    tree = tmp_path / "later"
    shutil.copytree(ROOT, tree, ignore=_AWAY)
    for edit in _LATER:
        edit.apply(tree)
    return tree


@pytest.fixture
def system(fresh_system: System) -> System:
    fresh_system.options = [
        word for name in ("order", "payment", "inventory", "notification") for word in ("--service", name)
    ]
    fresh_system.start()
    for seed in (["stock", "set", "BOOK-1", "10000"], ["account", "set", "c-1", "100000000"]):
        assert fresh_system.run(*seed).code == 0
    return fresh_system


def test_builds_a_field_apart_work_together_in_every_order_of_upgrade(system: System, later: Path, order: Make) -> None:
    orders = [order("x", **(BOUNCES if number % 4 == 3 else {})) for number in range(_ORDERS * 2 * len(_STAGES))]
    for orders_build, shipping_build in _STAGES:
        placing = [
            _bulk(system, [orders.pop() for _ in range(_ORDERS)], *options)
            for options in ((), ("--mode", "batch", "--batch-size", "2"))
        ]
        with (
            _serving(system, later, orders_build, "--service", "orders"),
            # The other services have orders already: an operator must allow a new database of shipping.
            _serving(system, later, shipping_build, "--service", "shipping", "--adopt-databases"),
        ):
            told = system.place(order("told"), "--mode", "choreography")
            assert told.document["state"] == "CONFIRMED"
            ends = [bulk.answer().document for bulk in placing]
        assert [end["states"] for end in ends] == [{"CONFIRMED": 3, "ROLLED_BACK": 1}] * 2
        assert [end["errors"] for end in ends] == [{"NOTIFICATION_FAILED": 1}] * 2
    assert system.run("audit").code == 0
    with closing(sqlite3.connect(system.folder / "shipping.db")) as shipping:
        kept = [answer for (answer,) in shipping.execute("SELECT answer FROM operations WHERE state = 'DONE'")]
    assert {'"courier"' in answer for answer in kept} == {True, False}, "both checkouts were at work"


def _bulk(system: System, orders: list[dict[str, Any]], *options: str) -> Program:
    """Start `bulk` for these orders, beside the test."""
    return system.start_command("bulk", "-", "--json", *options, stdin="\n".join(map(json.dumps, orders)))


def _serving(system: System, later: Path, build: str, *options: str) -> AbstractContextManager[object]:
    """A worker of that build, from `ready` to the end of the block."""
    # Python imports from the folder of the program that it runs.
    return worker(system, *options) if build == "now" else other_build(system, str(later / "worker.py"), *options)
