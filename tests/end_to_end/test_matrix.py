"""The crash matrix: every call of an order in every fault, with real services, by the harness of the package.

The harness learns the calls from an order, so the matrix has every new step. It checks the state of the services after
each case; the audit's invariants hold after all of them. `test_deaths` has the faults that need processes.
"""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from temporalio.testing import WorkflowEnvironment

from activities.catalogue import SERVICES
from activities.database import connect, reading
from activities.schema import migrate
from activities.service import Service
from audit import invariants
from cli.documents import document
from contracts import inventory, payment
from contracts.ids import order_workflow_id
from runtime.connection import data_converter
from runtime.settings import Settings
from temporal_saga.testing import Fault, SagaUnderTest, check
from workflows.order import OrderWorkflow

from ..orders import REQUIRED

pytestmark = pytest.mark.long

_CUSTOMER, _SKU = "c-1", "BOOK-1"
_AMOUNTS = {
    "payment": "SELECT balance_minor, held_minor FROM accounts",
    "inventory": "SELECT on_hand, reserved FROM stock",
}
"""The one account and the one article."""
_HELD = {
    "order": "SELECT order_id, state FROM orders WHERE state != 'CANCELLED'",
    "payment": "SELECT order_id, state FROM payments WHERE state != 'CANCELLED'",
    "inventory": "SELECT order_id, quantity, state FROM reservations WHERE state != 'RELEASED'",
    "shipping": "SELECT order_id, state FROM shipments WHERE state != 'CANCELLED'",
    "notification": "SELECT transaction_id FROM messages GROUP BY transaction_id HAVING MIN(subject) = 'CONFIRMED'",
}
"""What a rollback must not leave behind. A customer who was told of an order may be told that it is cancelled."""
_DONE = "SELECT step, transaction_id FROM operations WHERE state = 'DONE'"
"""What the fence says, of a new service too."""
_LOST = {Fault.NONE, Fault.REPLY_LOST, Fault.LATE, Fault.UNDO_REPLY_LOST}


class Shop:
    """All services on SQLite databases of their own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._services: dict[str, Service] = {}

    async def open(self, stack: AsyncExitStack) -> None:
        for name, definition in SERVICES.items():
            database = connect(self._url(name))
            stack.push_async_callback(database.dispose)
            await migrate(database, name)
            self._services[name] = Service(definition, database)
        money = payment.SetAccount(transaction_id="money", customer_id=_CUSTOMER, balance_minor=10**7)
        await self._services["payment"].execute(payment.set_account, money)
        books = inventory.SetStock(transaction_id="stock", sku=_SKU, on_hand=10_000)
        await self._services["inventory"].execute(inventory.set_stock, books)

    def order(self) -> SagaUnderTest:
        return SagaUnderTest(
            workflow=OrderWorkflow.run,
            input=lambda case: document(case, _CUSTOMER, _LINES) | REQUIRED,
            workflow_id=order_workflow_id,
            cancel=lambda handle: handle.execute_update("cancel_order", "changed my mind"),
            activities=[*chain.from_iterable(service.activities() for service in self._services.values())],
            state=self._state,
            data_converter=data_converter(Settings.read()),
        )

    async def audit(self) -> None:
        async with AsyncExitStack() as stack:
            rows = {name: await stack.enter_async_context(reading(self._url(name))) for name in SERVICES}
            found = await invariants.stock(rows["inventory"]) + await invariants.money(rows["payment"])
            for name, connection in rows.items():
                found += await invariants.single_effect(connection, name)
        assert found == []

    def _state(self) -> dict[str, Any]:
        held = {service: list(map(tuple, self._read(service, question))) for service, question in _HELD.items()}
        amounts = {f"{service} total": dict(self._read(service, question)[0]) for service, question in _AMOUNTS.items()}
        done = {f"{service} fence": list(map(tuple, self._read(service, _DONE))) for service in SERVICES}
        return held | amounts | done

    def _read(self, service: str, question: str) -> list[sqlite3.Row]:
        with sqlite3.connect(self._folder / f"{service}.db") as database:
            database.row_factory = sqlite3.Row
            return database.execute(question).fetchall()

    def _url(self, service: str) -> str:
        return f"sqlite+aiosqlite:///{self._folder}/{service}.db"


_LINES = [{"sku": _SKU, "quantity": 2, "unit_price_minor": 1299}]


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    made = Shop(tmp_path)
    async with AsyncExitStack() as stack:
        await made.open(stack)
        yield made


@pytest.mark.parametrize(
    "faults", [pytest.param(set(Fault), marks=pytest.mark.chaos, id="all"), pytest.param(_LOST, id="lost replies")]
)
@pytest.mark.timeout(300)
async def test_every_step_and_undo_survives_every_fault(
    time_skipping_server: WorkflowEnvironment, shop: Shop, faults: set[Fault]
) -> None:
    report = await check(shop.order(), faults=faults, server=time_skipping_server)
    assert report.is_good, str(report)
    calls = {call for verdict in report.verdicts for call in verdict.calls}
    assert {"payment.cancel", "inventory.release", "shipping.cancel", "order.cancel", "shipping.dispatch"} <= calls
    await shop.audit()
