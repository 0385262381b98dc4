"""A service on its own database, as a test drives it, and the tables that the test checks."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, NamedTuple

import pytest
from sqlalchemy import Connection, event, select

from activities.catalogue import SERVICES
from activities.database import connect
from activities.definition import Handler
from activities.fence import RefusedDecision
from activities.records import Stale
from activities.service import Service
from contracts.message import Message, Reply, Request
from temporal_saga import Operation
from temporal_saga.fence.rules import OperationState

Operations = Operation[Any, Any]
HANDLED = [handler.operation for service in SERVICES.values() for handler in service.handlers]
FORWARDS = [each for each in HANDLED if each.undoes is None]
UNDOS = [each for each in HANDLED if each.undoes is not None]
TEMPORAL_ATTEMPTS = 20
"""Deliveries that `deliver_until_answered` makes, in place of Temporal's retries; contention ends long before."""
_AS_FIRST = {"repeated": False}


class Call(NamedTuple):
    operation: Operations
    request: Request


def each_as(argument: str, operations: Sequence[Operations]) -> pytest.MarkDecorator:
    """A mark that runs a test for each operation, which is its argument of that name."""
    return pytest.mark.parametrize(argument, operations, ids=lambda operation: operation.name)


every_operation, every_forward = each_as("operation", HANDLED), each_as("forward", FORWARDS)
every_undo = each_as("undo", UNDOS)


def handler_of(operation: Operations) -> Handler[Any, Any]:
    handlers = [each for each in SERVICES[operation.queue].handlers if each.operation is operation]
    assert handlers, missing_handler(operation)
    [handler] = handlers
    return handler


def missing_handler(operation: Operations) -> str:
    """What to do about an operation that its service does not serve."""
    service, verb = operation.queue, operation.name.partition(".")[2]
    if issubclass(operation.request, Request):
        what = f"no handler implements {operation.name}: add {verb} to the handlers"
    else:
        what = f"no query answers {operation.name}: add Query({operation.name}, …) to the queries"
    return f"activities/{service}.py: {what} of {service.upper()}"


class ServiceHarness:
    """A service with one `Database`, as a worker has it; `sibling` is another worker on the same database."""

    opened: ClassVar[list[ServiceHarness]] = []
    """The harnesses of the running test, whose databases a fixture closes."""

    def __init__(self, name: str, url: str) -> None:
        self.definition = SERVICES[name]
        self.url = url
        self.database = connect(url)
        self.service = Service(self.definition, self.database)
        self.opened.append(self)
        self.stale_escapes = 0

    def sibling(self) -> ServiceHarness:
        return ServiceHarness(self.definition.name, self.url)

    async def deliver(self, operation: Operations, request: Request) -> Reply | RefusedDecision:
        [answer] = await self.deliver_all(operation, [request])
        return answer

    async def deliver_all(self, operation: Operations, requests: Sequence[Request]) -> list[Reply | RefusedDecision]:
        """The answers; a reply that is repeated is the first one, but for the field that says so."""
        answers = await self.service.perform(handler_of(operation), requests)
        return [each if isinstance(each, RefusedDecision) else each.model_copy(update=_AS_FIRST) for each in answers]

    async def execute(self, operation: Operations, question: Message) -> Reply:
        [query] = [each for each in self.definition.queries if each.operation is operation]
        reply: Reply = await self.database.transaction(lambda tx: query.read(tx, question))
        return reply

    async def deliver_until_answered(self, operation: Operations, request: Request) -> Reply | RefusedDecision:
        """Deliver again after each `Stale`, and count these."""
        for attempt in range(TEMPORAL_ATTEMPTS):
            try:
                return await self.deliver(operation, request)
            except Stale:
                self.stale_escapes += 1
                await asyncio.sleep(0.05 * attempt)
        raise AssertionError(f"{operation.name} got no answer in {TEMPORAL_ATTEMPTS} attempts")

    async def accept(self, *calls: Call) -> list[Reply]:
        """Deliver calls in order, none of which may be refused."""
        replies = []
        for call in calls:
            reply = await self.deliver(*call)
            assert not isinstance(reply, RefusedDecision), f"{call.operation.name}: {reply}"
            replies.append(reply)
        return replies

    async def refuse(self, operation: Operations, request: Request) -> tuple[str, str]:
        """Deliver a request that must be refused, and return code and message."""
        answer = await self.deliver(operation, request)
        assert isinstance(answer, RefusedDecision), f"{operation.name} was not refused: {answer}"
        return str(answer.code), answer.message

    async def rows(self, table: str) -> list[dict[str, Any]]:
        """All rows of a table, in key order."""
        source = self.definition.metadata.tables[table]
        wanted = select(source).order_by(*source.primary_key.columns)
        return await self.database.transaction(lambda tx: [dict(row) for row in tx.execute(wanted).mappings()])

    async def row(self, table: str, **key: Any) -> dict[str, Any]:
        [row] = [row for row in await self.rows(table) if key.items() <= row.items()]
        return row

    async def business(self) -> dict[str, list[dict[str, Any]]]:
        """The rows of every table but `operations` and `effects`."""
        names = sorted(self.definition.metadata.tables.keys() - {"operations", "effects"})
        return {name: await self.rows(name) for name in names}

    async def effects(self, transaction_id: str) -> list[str]:
        """The operations that took effect for a transaction, in order."""
        return [row["operation"] for row in await self.rows("effects") if row["transaction_id"] == transaction_id]

    async def recorded_state(self, operation: Operations, request: Request) -> OperationState | None:
        found = [
            OperationState(row["state"])
            for row in await self.rows("operations")
            if (row["transaction_id"], row["step"]) == (request.transaction_id, operation.step)
        ]
        assert len(found) <= 1
        return found[0] if found else None


@contextmanager
def watched(harness: ServiceHarness) -> Iterator[list[str]]:
    """Collect the first word of every statement that reaches the database, and COMMIT for every commit."""
    seen: list[str] = []

    def statement(_connection: Any, _cursor: Any, sql: str, _parameters: Any, _context: Any, _many: bool) -> None:  # noqa: FBT001 — SQLAlchemy's signature
        seen.append(sql.split(maxsplit=1)[0])

    def commit(_connection: Any) -> None:
        seen.append("COMMIT")

    def begin(connection: Connection) -> None:
        driver: Any = connection.connection.driver_connection
        driver.set_trace_callback(trace)

    def trace(sql: str) -> None:
        heads.append(sql.partition("(")[0])
        if heads[-2:-1] != heads[-1:]:  # the rows of one statement are traced one by one
            seen.append(sql.split(maxsplit=1)[0])

    heads: list[str] = []
    engine = harness.database.sync_engine
    is_sqlite = engine.dialect.name == "sqlite"
    watches: dict[str, Any] = {"begin": begin} if is_sqlite else {"before_cursor_execute": statement, "commit": commit}
    for name, watch in watches.items():
        event.listen(engine, name, watch)
    yield seen
    for name, watch in watches.items():
        event.remove(engine, name, watch)


async def assert_goods_add_up(harness: ServiceHarness) -> None:
    """Assert for every sku that received = on_hand + committed, reserved = held and 0 <= reserved <= on_hand."""
    held, committed = Counter[str](), Counter[str]()
    for row in await harness.rows("reservations"):
        held[row["sku"]] += row["quantity"] if row["state"] == "HELD" else 0
        committed[row["sku"]] += row["quantity"] if row["state"] == "COMMITTED" else 0
    for row in await harness.rows("stock"):
        assert row["received"] == row["on_hand"] + committed[row["sku"]], row
        assert row["reserved"] == held[row["sku"]], row
        assert 0 <= row["reserved"] <= row["on_hand"], row


async def assert_money_adds_up(harness: ServiceHarness) -> None:
    """Assert for every account that deposited = balance + captured, held = authorized and 0 <= held <= balance."""
    held, captured = Counter[str](), Counter[str]()
    for row in await harness.rows("payments"):
        held[row["customer_id"]] += row["amount_minor"] if row["state"] == "AUTHORIZED" else 0
        captured[row["customer_id"]] += row["amount_minor"] if row["state"] == "CAPTURED" else 0
    for row in await harness.rows("accounts"):
        assert row["deposited_minor"] == row["balance_minor"] + captured[row["customer_id"]], row
        assert row["held_minor"] == held[row["customer_id"]], row
        assert 0 <= row["held_minor"] <= row["balance_minor"], row


async def assert_invariants(harness: ServiceHarness) -> None:
    """Assert the invariants of the service's tables, and that no operation took effect twice for one key."""
    if harness.definition.name == "inventory":
        await assert_goods_add_up(harness)
    if harness.definition.name == "payment":
        await assert_money_adds_up(harness)
    effects = Counter((row["transaction_id"], row["operation"]) for row in await harness.rows("effects"))
    assert all(count == 1 for count in effects.values()), effects
