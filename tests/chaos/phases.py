"""The acts of a run: the storm, the absence of every worker, and the calm in which everything must be right."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import Any

from contracts import inventory
from contracts.inventory import SetStock
from runtime.connection import connect
from runtime.execute import execute
from runtime.seed import seed as fill_the_shelves
from runtime.settings import Settings
from tests.end_to_end.fleet import Fleet
from tests.eventually import eventually_async

from .orders import RARE_SKU, RARE_UNITS, mixed_orders, sold
from .proxy import Proxy
from .report import Report
from .villains import storm, villains

FAULTS = """
fault = [
  {operation = "*", transaction = "order/*", kind = "error_before", rate = 0.1, attempts = 4},
  {operation = "*", transaction = "order/*", kind = "error_after", rate = 0.11, attempts = 4},
  {operation = "*", transaction = "order/*", kind = "die_before", rate = 0.0005, attempts = 4},
  {operation = "*", transaction = "order/*", kind = "die_after", rate = 0.0005, attempts = 4},
  {operation = "*", transaction = "order/*", kind = "hang", rate = 0.003, attempts = 4},
  {operation = "*", transaction = "order/*", kind = "hang_after", rate = 0.003, attempts = 4},
  {operation = "*", transaction = "order/*", kind = "delay", rate = 0.005, seconds = 7, attempts = 4},
  {operation = "*", transaction = "order/*", kind = "delay", rate = 0.02, seconds = 0.5, attempts = 4},
]
"""
"""A fifth of all attempts fails, before or after it acts; a few more do worse. Only orders are hit, not the set-up.
Seven seconds is longer than an attempt may take. Faults are drawn by attempt, the same in every round: a call that must
get through has five attempts to a round, and with all of them drawn would stay parked for ever; the fifth is spared."""
_CONCURRENCY = "60"
"""Enough that each blow hits many orders, few enough that an untroubled one takes seconds."""


class Way(StrEnum):
    """How every second order is carried; the others have a workflow of their own that asks over the queues."""

    SINGLE = "single"
    COLOCATED = "colocated"
    BATCH = "batch"


_OPTIONS = {
    Way.SINGLE: ("--concurrency", _CONCURRENCY),
    Way.COLOCATED: ("--mode", "colocated", "--concurrency", _CONCURRENCY),
    # Small ones, so that the blows hit many.
    Way.BATCH: ("--mode", "batch", "--batch-size", "25", "--concurrency", "4"),
}
_ABSENT_S = 25
"""Longer than the deadline of the orders that are under way meanwhile."""
_DEADLINE_S = 20
_ROUNDS = 5
"""Looks at the orders that have not ended: each waits up to two minutes for each of them."""


@dataclass
class Play:
    fleet: Fleet
    proxy: Proxy
    report: Report
    way: Way = Way.SINGLE
    placed: list[dict[str, Any]] = field(default_factory=list)
    """Every order anybody has placed."""
    told: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The outcome that its owner was told last, by order."""

    async def open(self) -> None:
        """Start the workers, and count what there is."""
        began = time.monotonic()
        await self.fleet.start_workers()
        self._start_s = time.monotonic() - began
        client = await connect(Settings(), address=f"127.0.0.1:{self.fleet.system.port}")
        await fill_the_shelves(partial(execute, client))
        await execute(client, inventory.set_stock, SetStock(transaction_id="rare", sku=RARE_SKU, on_hand=RARE_UNITS))
        self._goods, self._accounts = await self._counted()

    async def weather_the_storm(self, count: int) -> None:
        """`count` orders, placed through the proxy, while every villain is about."""
        orders = mixed_orders(self.report.seed, count)
        gang = villains(self.fleet, self.proxy, self._start_s)
        async with storm(gang, self.report.seed, self.report.blows):
            await self._place(orders, TEMPORAL_ADDRESS=self.proxy.address)
        for villain in gang:
            if not self.report.blows[villain.name]:
                self.report.violations.append(f"no blow of the kind: {villain.name}; it was a storm in a teacup")
        await self.fleet.ready()

    async def go_on_after_an_absence(self) -> None:
        """Every worker gone while orders are under way and others are being placed, and back."""
        under_way = [order | {"deadline_s": _DEADLINE_S} for order in mixed_orders(self.report.seed + 1, 40)]
        placing = asyncio.create_task(self._place(under_way))
        await eventually_async(lambda: self._begun(under_way[0]["order_id"]), "an order of the second act has begun")
        await self.fleet.stop_workers()
        late = mixed_orders(self.report.seed + 2, 5)
        self.placed += late
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(asyncio.sleep(_ABSENT_S))
            for order in late:
                tasks.create_task(self._place_without_waiting(order))
        await self.fleet.start_workers()
        await placing

    async def count_up(self) -> None:
        """What must hold when all is calm: every order has an end and its owner knows it, and nothing is lost."""
        retried = await self.fleet.run("desk", "retry", "--all", "--json")
        self.report.retried_by_desk = self._document(retried).get("accepted", 0)
        for _ in range(_ROUNDS):
            unknown = [order for order in self.placed if not _is_end(self.told.get(order["order_id"]))]
            if unknown:
                await self._place(unknown, again=True)
        self._check_ends()
        self.report.parked_now = len(self._document(await self.fleet.run("desk", "list", "--json")))
        self._expect("parked", self.report.parked_now, 0)
        swept = self._document(await self.fleet.run("sweep", "--json"))
        self._expect("found by the sweep", swept.get("orders"), [])
        audit = self._document(await self.fleet.run("audit", "--json"))
        self.report.violations += [json.dumps(violation) for violation in audit.get("violations", [])]
        self._expect("violations of the audit's checks", sum(audit.get("checks", {"none": 1}).values()), 0)
        await self._check_stock_and_money()

    async def _begun(self, order_id: str) -> bool:
        return any(line.get("transaction_id") == f"order/{order_id}" for line in self.fleet.log_lines())

    async def _place(self, orders: list[dict[str, Any]], *, again: bool = False, **environment: str) -> None:
        """Place them with `bulk` and remember what it says, both ways side by side if two are to be tried."""
        if not again:
            self.placed += orders
        others = orders[1::2] if self.way is not Way.SINGLE and not again else []
        async with asyncio.TaskGroup() as tasks:
            alone = orders[::2] if others else orders
            tasks.create_task(self._bulk(alone, *_OPTIONS[Way.SINGLE], **environment))
            if others:
                tasks.create_task(self._bulk(others, *_OPTIONS[self.way], **environment))

    async def _bulk(self, orders: list[dict[str, Any]], *options: str, **environment: str) -> None:
        """An end that has been told must never change."""
        lines = "\n".join(map(json.dumps, orders))
        answer = await self.fleet.run("bulk", "-", *options, "--json", "--outcomes", stdin=lines, **environment)
        for outcome in self._document(answer).get("outcomes", []):
            before = self.told.get(outcome["order_id"])
            if _is_end(before):
                self._expect(f"{outcome['order_id']} as told before", outcome, before)
            self.told[outcome["order_id"]] = outcome

    async def _place_without_waiting(self, order: dict[str, Any]) -> None:
        answer = await self.fleet.run("place", "-", "--no-wait", "--json", stdin=json.dumps(order))
        self._expect(f"exit code of placing {order['order_id']} while nobody works", answer.code, 0)

    def _document(self, answer: Any) -> Any:
        if answer.out.startswith(("{", "[")):
            return answer.document
        self.report.violations.append(f"a command said nothing, exit code {answer.code}: {answer.err[-500:]}")
        return {}

    def _check_ends(self) -> None:
        report = self.report
        report.orders = len(self.placed)
        for order in self.placed:
            outcome = self.told.get(order["order_id"]) or {"state": "UNKNOWN TO ITS OWNER", "error": None, "steps": []}
            code = (outcome["error"] or {}).get("code", "")
            report.ends[f"{outcome['state']} {code}".strip()] += 1
            report.undos += sum(step["kind"] == "undo" and step["status"] == "DONE" for step in outcome["steps"])
            if not _is_end(outcome):
                report.violations.append(f"{order['order_id']} has no end: {json.dumps(outcome)}")

    async def _counted(self) -> tuple[dict[str, Any], dict[str, Any]]:
        goods = self._document(await self.fleet.run("stock", "list", "--json"))
        accounts = self._document(await self.fleet.run("account", "list", "--json"))
        return {level["sku"]: level for level in goods}, {account["customer_id"]: account for account in accounts}

    async def _check_stock_and_money(self) -> None:
        """From what the owners were told alone, not from what the services remember."""
        served = [order for order in self.placed if self.told.get(order["order_id"], {}).get("state") == "CONFIRMED"]
        units, money = sold(served)
        goods, accounts = await self._counted()
        gone = Counter({sku: self._goods[sku]["on_hand"] - goods[sku]["on_hand"] for sku in goods})
        paid = Counter(
            {name: self._accounts[name]["balance_minor"] - accounts[name]["balance_minor"] for name in accounts}
        )
        self._expect("units sold", +gone, +units)
        self._expect("money paid", +paid, +money)
        self._expect("units reserved", {level["reserved"] for level in goods.values()}, {0})
        self._expect("money held", {account["held_minor"] for account in accounts.values()}, {0})

    def _expect(self, what: str, found: Any, expected: Any) -> None:
        if found != expected:
            self.report.violations.append(f"{what}: {found}, not {expected}")


def _is_end(outcome: dict[str, Any] | None) -> bool:
    return outcome is not None and outcome["state"] in ("CONFIRMED", "ROLLED_BACK")
