"""The phases of a run, each under load, and the checks when all faults have stopped."""

import asyncio
import json
import time
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from itertools import count
from typing import Any

from contracts import inventory
from contracts.inventory import SetStock
from runtime.connection import connect
from runtime.execute import execute
from runtime.seed import seed as fill_the_shelves
from runtime.settings import Settings
from tests.end_to_end.fleet import Fleet
from tests.eventually import eventually_async
from tests.postgresql import PostgresqlServer

from .fault_injectors import fault_injectors, injecting, pace
from .orders import CONFIRMABLE, RARE_SKU, RARE_UNITS, random_orders, sold
from .proxy import Proxy
from .report import Report

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
"""A fifth of all attempts fails, before or after it acts; a few more die, hang or are late. Only orders are hit, not
the set-up. Seven seconds is longer than an attempt may take. Faults are drawn by attempt, the same in every round of
retries. A round has five attempts, so the fifth is spared: a call with all five drawn would stay parked for ever."""
_CONCURRENCY = 60
"""Enough that each injected fault hits many orders, few enough that an order without faults takes seconds."""
_LIGHT_LOAD = 20
"""Orders under way at once, on a quiet machine, of which none comes near a timeout of its own accord."""


class Mode(StrEnum):
    """How every second order travels, as `bulk --mode` has it; the others have the mode saga."""

    SAGA = "saga"
    COLOCATED = "colocated"
    BATCH = "batch"
    CHOREOGRAPHY = "choreography"


_BATCH_SIZE = 25
"""Small, so that the faults hit many batches."""
_WEIGHTS = {Mode.BATCH: 15, Mode.CHOREOGRAPHY: 4}
"""How many times heavier a batch, or an order of five workflows, is than an order with one workflow."""
_OUTAGE_S = 25
"""Longer than the deadline of the orders that are under way meanwhile."""
_DEADLINE_S = 20
_WAVE = 50
"""Orders that are placed at once under a rolling restart. Two waves run side by side, so the load has no pause."""
_DATABASE_OUTAGES_S = (3, 35)
"""The first is over before the attempts of a step are; the second is longer, so that orders are rolled back."""
_BEGUN_S = 120
"""Limit on the wait for an order to begin, also one in the middle of the load."""
_ROUNDS = 5
"""Attempts to learn the ends of orders that have not ended: each waits up to two minutes for each of them."""


@dataclass
class Run:
    fleet: Fleet
    proxy: Proxy
    report: Report
    mode: Mode = Mode.SAGA
    placed: list[dict[str, Any]] = field(default_factory=list)
    """Every order of this run."""
    told: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The outcome that `bulk` told last, by order."""
    concurrency: int = _CONCURRENCY
    """Orders of one `bulk` that are under way at once, or fewer where these are heavier."""
    none_refused: bool = False
    """Whether every order can be confirmed, so that any other end is a violation."""

    async def start(self) -> None:
        """Start the workers, fill the shelves, and count stock and money."""
        began = time.monotonic()
        await self.fleet.start_workers()
        self._start_s = time.monotonic() - began
        client = await connect(Settings(), address=f"127.0.0.1:{self.fleet.system.port}")
        await fill_the_shelves(partial(execute, client))
        await execute(client, inventory.set_stock, SetStock(transaction_id="rare", sku=RARE_SKU, on_hand=RARE_UNITS))
        self._goods, self._accounts = await self._counted()

    async def place_under_faults(self, count: int) -> None:
        """Place `count` orders through the proxy while every fault injector runs."""
        orders = random_orders(self.report.seed, count)
        injectors = fault_injectors(self.fleet, self.proxy, self._start_s)
        async with injecting(injectors, self.report.seed, self.report.injections):
            await self._place(orders, TEMPORAL_ADDRESS=self.proxy.address)
        for injector in injectors:
            if not self.report.injections[injector.name]:
                self.report.violations.append(f"no injection of the kind: {injector.name}; place more --orders")
        await self.fleet.ready()

    async def recover_from_an_outage(self) -> None:
        """Stop every worker while orders are under way and others are being placed, and start them again."""
        under_way = [order | {"deadline_s": _DEADLINE_S} for order in random_orders(self.report.seed + 1, 40)]
        placing = asyncio.create_task(self._place(under_way))
        await self._wait_until_begun(under_way[0])
        await self.fleet.stop_workers()
        late = random_orders(self.report.seed + 2, 5)
        self.placed += late
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(asyncio.sleep(_OUTAGE_S))
            for order in late:
                tasks.create_task(self._place_without_waiting(order))
        await self.fleet.start_workers()
        await placing

    async def restart_every_worker(self, at_least: int) -> None:
        """Restart the workers one by one with SIGTERM, under orders of which none may be rolled back because of it."""
        self.none_refused, self.concurrency = True, self._light_load(bulks=2)
        seeds = count(self.report.seed)

        async def keep_placing() -> None:
            while not restarting.done() or len(self.placed) < at_least:
                await self._place(random_orders(next(seeds), _WAVE, CONFIRMABLE))

        async with asyncio.TaskGroup() as tasks:
            restarting = tasks.create_task(self._restart_one_by_one())
            tasks.create_task(keep_placing())
            tasks.create_task(keep_placing())

    def _light_load(self, bulks: int) -> int:
        """The orders that each of so many `bulk`s may have under way at once."""
        return max(1, int(_LIGHT_LOAD / bulks / pace(self._start_s)))

    async def _restart_one_by_one(self) -> None:
        await self._wait_until_begun(random_orders(self.report.seed, 1)[0])
        for worker in self.fleet.workers:
            code = await self.fleet.restart(worker)
            self._expect(f"exit code of worker {worker} after SIGTERM", code, 0)
            self.report.injections["worker restarted with SIGTERM"] += 1

    async def kill_the_database(self, server: PostgresqlServer, orders: int) -> None:
        """Kill PostgreSQL twice while orders are under way, and start it again on the same data."""
        self.concurrency = self._light_load(bulks=1)
        placed = random_orders(self.report.seed, orders)
        placing = asyncio.create_task(self._place(placed))
        for number, outage_s in enumerate(_DATABASE_OUTAGES_S, start=1):
            await self._wait_until_begun(placed[number * len(placed) // 6 * 2])  # an even place: it has the mode saga
            server.kill()
            await asyncio.sleep(outage_s)
            await asyncio.to_thread(server.start_again)
            self.report.injections["PostgreSQL killed"] += 1
        await placing

    async def check(self) -> None:
        """Check what must hold without faults: every order has an end, `bulk` tells it, and nothing is lost."""
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

    async def _wait_until_begun(self, order: dict[str, Any]) -> None:
        transaction_id = f"order/{order['order_id']}"

        async def begun() -> bool:
            return any(line.get("transaction_id") == transaction_id for line in self.fleet.log_lines())

        await eventually_async(begun, f"{transaction_id} has begun", timeout_s=_BEGUN_S, pause_s=0.5)

    async def _place(self, orders: list[dict[str, Any]], *, again: bool = False, **environment: str) -> None:
        """Place the orders and remember their outcomes; in both modes side by side, unless it is `again`."""
        if not again:
            self.placed += orders
        others = orders[1::2] if self.mode is not Mode.SAGA and not again else []
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._bulk(orders[::2] if others else orders, Mode.SAGA, **environment))
            if others:
                tasks.create_task(self._bulk(others, self.mode, **environment))

    async def _bulk(self, orders: list[dict[str, Any]], mode: Mode, **environment: str) -> None:
        """Place the orders in one mode. An end that has been told once must never change."""
        concurrency = max(1, self.concurrency // _WEIGHTS.get(mode, 1))
        batch_size = ["--batch-size", str(_BATCH_SIZE)] if mode is Mode.BATCH else []
        arguments = ["bulk", "-", "--mode", mode, "--concurrency", str(concurrency), *batch_size]
        arguments += ["--json", "--outcomes"]
        answer = await self.fleet.run(*arguments, stdin="\n".join(map(json.dumps, orders)), **environment)
        for outcome in self._document(answer).get("outcomes", []):
            before = self.told.get(outcome["order_id"])
            if _is_end(before):
                self._expect(f"{outcome['order_id']} as told before", outcome, before)
            self.told[outcome["order_id"]] = outcome

    async def _place_without_waiting(self, order: dict[str, Any]) -> None:
        answer = await self.fleet.run("place", "-", "--no-wait", "--json", stdin=json.dumps(order))
        self._expect(f"exit code of placing {order['order_id']} without workers", answer.code, 0)

    def _document(self, answer: Any) -> Any:
        if answer.out.startswith(("{", "[")):
            return answer.document
        self.report.violations.append(f"a command printed no document, exit code {answer.code}: {answer.err[-500:]}")
        return {}

    def _check_ends(self) -> None:
        report = self.report
        report.orders = len(self.placed)
        for order in self.placed:
            outcome = self.told.get(order["order_id"]) or {"state": "NEVER TOLD", "error": None, "steps": []}
            code = (outcome["error"] or {}).get("code", "")
            report.ends[f"{outcome['state']} {code}".strip()] += 1
            report.undos += sum(step["kind"] == "undo" and step["status"] == "DONE" for step in outcome["steps"])
            if not _is_end(outcome):
                report.violations.append(f"{order['order_id']} has no end: {json.dumps(outcome)}")
            elif self.none_refused and outcome["state"] != "CONFIRMED":
                report.violations.append(f"{order['order_id']} was rolled back: {json.dumps(outcome)}")

    async def _counted(self) -> tuple[dict[str, Any], dict[str, Any]]:
        goods = self._document(await self.fleet.run("stock", "list", "--json"))
        accounts = self._document(await self.fleet.run("account", "list", "--json"))
        return {level["sku"]: level for level in goods}, {account["customer_id"]: account for account in accounts}

    async def _check_stock_and_money(self) -> None:
        """Compare stock and money with the outcomes that `bulk` told, not with what the services remember."""
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
