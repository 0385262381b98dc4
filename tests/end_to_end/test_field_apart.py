"""Two checkouts, a field apart in a request and in its reply, run side by side under load, upgraded in both orders."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.mutations.mutation import Edit

from ..orders import BOUNCES
from .processes import worker
from .system import ROOT, System

pytestmark = pytest.mark.xdist_group("field apart")

Make = Callable[..., dict[str, Any]]

_LATER = (
    Edit("contracts/shipping.py", "    ship_to: Address\n", "    ship_to: Address\n    insured: Added[bool] = False\n"),
    Edit("contracts/shipping.py", "    state: ShipmentState\n", '    state: ShipmentState\n    courier: str = "any"\n'),
    Edit("contracts/shipping.py", "message import Id,", "message import Added, Id,"),
    Edit("workflows/order.py", "ship_to=placed.ship_to)", "ship_to=placed.ship_to, insured=True)"),
)
_STAGES = (("now", "now"), ("now", "later"), ("later", "later"), ("later", "now"))
"""The checkouts of the workflows and of the shipping service: a caller older than its service, and the other way."""
_AWAY = shutil.ignore_patterns(".git", ".venv", "data", "tests", "docs", "__pycache__", ".*_cache", ".hypothesis")
_ORDERS = 12


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


@contextmanager
def _load(system: System, orders: list[dict[str, Any]], *options: str) -> Iterator[Callable[[], dict[str, Any]]]:
    """`bulk` beside the test; called, it waits for the end and returns the summary."""
    file = system.folder / f"{orders[0]['order_id']}.jsonl"
    file.write_text("\n".join(map(json.dumps, orders)))
    bulk = system.start_command("bulk", str(file), "--json", "--concurrency", "6", *options)

    def summary() -> dict[str, Any]:
        answer = bulk.answer()
        assert answer.code == 0, answer.err[-2000:]
        found: dict[str, Any] = answer.document
        return found

    yield summary
    assert not bulk.is_running


def test_builds_a_field_apart_work_together_in_every_order_of_upgrade(system: System, later: Path, order: Make) -> None:
    trees = {"now": ROOT, "later": later}  # Python imports from the folder of the program that it runs
    running: dict[str, tuple[str, Any]] = {}

    def run(queue: str, build: str) -> None:
        if queue in running:
            if running[queue][0] == build:
                return
            running.pop(queue)[1].__exit__(None, None, None)
        # The first worker of shipping comes when the others have been at work: an operator says that it may.
        adopt = ["--adopt-databases"] if queue == "shipping" else []
        beside = worker(system, str(trees[build] / "worker.py"), "--service", queue, *adopt)
        beside.__enter__()
        running[queue] = (build, beside)

    orders = [order("x", **(BOUNCES if number % 4 == 3 else {})) for number in range(_ORDERS * 2 * len(_STAGES))]
    ends: list[dict[str, Any]] = []
    try:
        for orders_build, shipping_build in _STAGES:
            with (
                _load(system, [orders.pop() for _ in range(_ORDERS)]) as singly,
                _load(
                    system, [orders.pop() for _ in range(_ORDERS)], "--mode", "batch", "--batch-size", "4"
                ) as batched,
            ):
                run("orders", orders_build)
                run("shipping", shipping_build)
                told = system.place(order("told"), "--mode", "choreography")
                assert told.document["state"] == "CONFIRMED"
                ends += [singly(), batched()]
    finally:
        for _, beside in running.values():
            beside.__exit__(None, None, None)
    assert [end["states"] for end in ends] == [{"CONFIRMED": 9, "ROLLED_BACK": 3}] * len(ends)
    assert {code for end in ends for code in end["errors"]} == {"NOTIFICATION_FAILED"}
    assert system.run("audit").code == 0
    with closing(sqlite3.connect(system.folder / "shipping.db")) as shipping:
        kept = [answer for (answer,) in shipping.execute("SELECT answer FROM operations WHERE state = 'DONE'")]
    assert {'"courier"' in answer for answer in kept} == {True, False}, "both checkouts were at work"
