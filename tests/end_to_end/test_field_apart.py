"""Two builds that differ by a field of a request and of its reply, side by side under load, upgraded in each order."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.mutations.mutation import Edit

from ..orders import BOUNCES
from .processes import other_build, worker
from .system import ROOT, System

pytestmark = pytest.mark.xdist_group("field apart")

Make = Callable[..., dict[str, Any]]

_LATER = (
    Edit("contracts/shipping.py", "    ship_to: Address\n", "    ship_to: Address\n    insured: Added[bool] = False\n"),
    Edit("contracts/shipping.py", "    state: ShipmentState\n", '    state: ShipmentState\n    courier: str = "any"\n'),
    Edit("contracts/shipping.py", "message import Id,", "message import Added, Id,"),
    Edit("workflows/order.py", "ship_to=placed.ship_to)", "ship_to=placed.ship_to, insured=True)"),
)
_STAGES = (("now", "later"), ("later", "later"), ("later", "now"))
"""The builds of the workflows and of the shipping service: the caller is older, then both are new, then it is newer."""
_AWAY = shutil.ignore_patterns(".git", ".venv", "data", "tests", "docs", ".*_cache", ".hypothesis")
_ORDERS = 8


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
    """Run `bulk` beside the block, which calls the result to wait for the summary."""
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
    running: dict[str, tuple[str, AbstractContextManager[object]]] = {}

    def run(queue: str, build: str) -> None:
        if queue in running:
            if running[queue][0] == build:
                return
            running.pop(queue)[1].__exit__(None, None, None)
        # The other services have orders already: an operator must allow a new database of shipping.
        adopt = ["--adopt-databases"] if queue == "shipping" else []
        options = ["--service", queue, *adopt]
        # Python imports from the folder of the program that it runs.
        serving = (
            worker(system, *options) if build == "now" else other_build(system, str(later / "worker.py"), *options)
        )
        serving.__enter__()
        running[queue] = (build, serving)

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
        for _, serving in running.values():
            serving.__exit__(None, None, None)
    assert [end["states"] for end in ends] == [{"CONFIRMED": 6, "ROLLED_BACK": 2}] * len(ends)
    assert {code for end in ends for code in end["errors"]} == {"NOTIFICATION_FAILED"}
    assert system.run("audit").code == 0
    with closing(sqlite3.connect(system.folder / "shipping.db")) as shipping:
        kept = [answer for (answer,) in shipping.execute("SELECT answer FROM operations WHERE state = 'DONE'")]
    assert {'"courier"' in answer for answer in kept} == {True, False}, "both checkouts were at work"
