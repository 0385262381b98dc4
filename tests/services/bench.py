"""A service at work on a database of its own, and the eyes of a test on its tables."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import select

from activities.catalogue import SERVICES
from activities.database import connect
from activities.fence import PassageState, Refusal
from activities.records import Stale
from activities.service import Handler, Service
from contracts.message import Message, Reply, Request
from saga import Operation

Operations = Operation[Any, Any]
TEMPORAL_ATTEMPTS = 20
"""How often `until_answered` delivers again, as Temporal would: contention must be over long before."""


class Call(NamedTuple):
    operation: Operations
    request: Request


def handler_of(operation: Operations) -> Handler[Any, Any]:
    [handler] = [each for each in SERVICES[operation.queue].handlers if each.operation is operation]
    return handler


class Bench:
    """One `Database`, as one worker process has; `beside` opens another on the same database."""

    def __init__(self, name: str, url: str) -> None:
        self.definition = SERVICES[name]
        self.url = url
        self.database = connect(url)
        self.service = Service(self.definition, self.database)
        self.stale_escapes = 0

    def beside(self) -> Bench:
        return Bench(self.definition.name, self.url)

    async def deliver(self, operation: Operations, request: Request) -> Reply | Refusal:
        [answer] = await self.service.perform(handler_of(operation), [request])
        return answer

    async def deliver_all(self, operation: Operations, requests: Sequence[Request]) -> list[Reply | Refusal]:
        return await self.service.perform(handler_of(operation), requests)

    async def execute(self, operation: Operations, question: Message) -> Reply:
        [query] = [each for each in self.definition.queries if each.operation is operation]
        reply: Reply = await self.database.transaction(lambda tx: query.read(tx, question))
        return reply

    async def until_answered(self, operation: Operations, request: Request) -> Reply | Refusal:
        """Deliver, and deliver again when contention got the better of it; counts how often it did."""
        for attempt in range(TEMPORAL_ATTEMPTS):
            try:
                return await self.deliver(operation, request)
            except Stale:
                self.stale_escapes += 1
                await asyncio.sleep(0.05 * attempt)
        raise AssertionError(f"{operation.name} got no answer in {TEMPORAL_ATTEMPTS} attempts")

    async def accept(self, *calls: Call) -> list[Reply]:
        """Deliver in order what must not be refused."""
        replies = []
        for call in calls:
            reply = await self.deliver(*call)
            assert not isinstance(reply, Refusal), f"{call.operation.name}: {reply}"
            replies.append(reply)
        return replies

    async def refuse(self, operation: Operations, request: Request) -> tuple[str, str]:
        """Deliver what must be refused; the code and the words."""
        answer = await self.deliver(operation, request)
        assert isinstance(answer, Refusal), f"{operation.name} was not refused: {answer}"
        return str(answer.code), answer.message

    async def rows(self, table: str) -> list[dict[str, Any]]:
        """All rows, in key order."""
        source = self.definition.metadata.tables[table]
        wanted = select(source).order_by(*source.primary_key.columns)
        return await self.database.transaction(lambda tx: [dict(row) for row in tx.execute(wanted).mappings()])

    async def row(self, table: str, **key: Any) -> dict[str, Any]:
        [row] = [row for row in await self.rows(table) if key.items() <= row.items()]
        return row

    async def business(self) -> dict[str, list[dict[str, Any]]]:
        """Every table but the fence's own two."""
        names = sorted(self.definition.metadata.tables.keys() - {"operations", "effects"})
        return {name: await self.rows(name) for name in names}

    async def effects(self, transaction_id: str) -> list[str]:
        """The operations that took effect, in the order they did."""
        return [row["operation"] for row in await self.rows("effects") if row["transaction_id"] == transaction_id]

    async def passage(self, operation: Operations, request: Request) -> PassageState | None:
        found = [
            PassageState(row["state"])
            for row in await self.rows("operations")
            if (row["transaction_id"], row["step"]) == (request.transaction_id, operation.step)
        ]
        assert len(found) <= 1
        return found[0] if found else None


async def assert_goods_add_up(bench: Bench) -> None:
    """received = on_hand + committed, reserved = held, 0 <= reserved <= on_hand: for every sku."""
    held, committed = Counter[str](), Counter[str]()
    for row in await bench.rows("reservations"):
        held[row["sku"]] += row["quantity"] if row["state"] == "HELD" else 0
        committed[row["sku"]] += row["quantity"] if row["state"] == "COMMITTED" else 0
    for row in await bench.rows("stock"):
        assert row["received"] == row["on_hand"] + committed[row["sku"]], row
        assert row["reserved"] == held[row["sku"]], row
        assert 0 <= row["reserved"] <= row["on_hand"], row


async def assert_money_adds_up(bench: Bench) -> None:
    """deposited = balance + captured, held = authorized, 0 <= held <= balance: for every account."""
    held, captured = Counter[str](), Counter[str]()
    for row in await bench.rows("payments"):
        held[row["customer_id"]] += row["amount_minor"] if row["state"] == "AUTHORIZED" else 0
        captured[row["customer_id"]] += row["amount_minor"] if row["state"] == "CAPTURED" else 0
    for row in await bench.rows("accounts"):
        assert row["deposited_minor"] == row["balance_minor"] + captured[row["customer_id"]], row
        assert row["held_minor"] == held[row["customer_id"]], row
        assert 0 <= row["held_minor"] <= row["balance_minor"], row


async def assert_invariants(bench: Bench) -> None:
    """What must be true of this service's tables at any time, and that no operation took effect twice for one key."""
    if bench.definition.name == "inventory":
        await assert_goods_add_up(bench)
    if bench.definition.name == "payment":
        await assert_money_adds_up(bench)
    effects = Counter((row["transaction_id"], row["operation"]) for row in await bench.rows("effects"))
    assert all(count == 1 for count in effects.values()), effects
