"""A running system in the test's own process: the real server, every worker, real databases, faults at will."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from temporalio import activity
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import DeleteWorkflowExecutionRequest
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle
from temporalio.testing import ActivityEnvironment
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from audit.report import Report
from audit.run import audit
from cli.documents import document
from client import handles
from contracts import inventory, payment
from contracts.inventory import ReserveStock, SetStock, StockLine
from contracts.order import WORKFLOWS_QUEUE, Order
from contracts.payment import AuthorizePayment, SetAccount
from contracts.recovery import SweepOrders, Swept
from recovery.sweep import Recovery
from runtime import connection, embedded
from runtime.embedded import embedded_server, free_port
from runtime.execute import execute
from runtime.faults import Fault, FaultInterceptor, FaultKind
from runtime.settings import Settings
from worker import serving

from ..eventually import eventually_async

_LONG = timedelta(hours=1)

Then = Callable[[], Awaitable[None]]


def name(kind: str) -> str:
    return f"{kind}-{uuid4().hex[:8]}"


def an_order(**changes: Any) -> Order:
    line = {"sku": "BOOK-1", "quantity": 2, "unit_price_minor": 500}
    return Order.model_validate(document(name("o"), "c-1", [line]) | {"deadline_s": 3600} | changes)


def goods_of(transaction_id: str) -> ReserveStock:
    return ReserveStock(transaction_id=transaction_id, order_id="x", lines=(StockLine(sku="BOOK-1", quantity=2),))


def charge_of(transaction_id: str) -> AuthorizePayment:
    return AuthorizePayment(
        transaction_id=transaction_id, order_id="x", customer_id="c-1", amount_minor=1000, currency="EUR"
    )


@dataclass
class Afterwards(Interceptor):
    """Something that happens right after an operation was answered, once."""

    after: dict[str, Then] = field(default_factory=dict)

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002 — the SDK's name
        return _Answered(next, self)


class _Answered(ActivityInboundInterceptor):
    def __init__(self, next: ActivityInboundInterceptor, hooks: Afterwards) -> None:  # noqa: A002 — the SDK's name
        super().__init__(next)
        self._hooks = hooks

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002 — the SDK's name
        reply = await super().execute_activity(input)
        then = self._hooks.after.pop(activity.info().activity_type, None)
        if then is not None:
            await then()
        return reply


@dataclass
class Rig:
    client: Client
    address: str
    folder: Path
    settings: Settings
    faults: list[Fault] = field(default_factory=list)
    afterwards: Afterwards = field(default_factory=Afterwards)

    async def sweep(self, **options: Any) -> Swept:
        """One sweep. It sees what other tests have left, too: look for what is yours."""
        return await ActivityEnvironment().run(Recovery(self.client, **options).sweep, SweepOrders())

    async def audited(self) -> Report:
        return await audit(self.client, self.settings)

    async def never_runs(self, workflow: str, workflow_id: str, *args: Any, client: Client | None = None) -> None:
        """Start a workflow that is terminated before any worker has seen it."""
        await self.waits(workflow, workflow_id, *args, client=client)
        await self.terminate(workflow_id)

    async def waits(self, workflow: str, workflow_id: str, *args: Any, client: Client | None = None) -> None:
        """Start a workflow that no worker sees for an hour."""
        await (client or self.client).start_workflow(
            workflow, args=args, id=workflow_id, task_queue=WORKFLOWS_QUEUE, start_delay=_LONG
        )

    async def terminate(self, workflow_id: str) -> None:
        """Return when Temporal lists the workflow as terminated."""
        await self.client.get_workflow_handle(workflow_id).terminate("a slip of the hand")
        await self.until_listed(f'WorkflowId = "{workflow_id}" AND ExecutionStatus = "Terminated"')

    async def forget(self, workflow_id: str) -> None:
        """Return when Temporal has deleted the workflow, as it does after the retention."""
        request = DeleteWorkflowExecutionRequest(
            namespace=self.client.namespace, workflow_execution=WorkflowExecution(workflow_id=workflow_id)
        )
        await self.client.workflow_service.delete_workflow_execution(request)
        await self.until_forgotten(workflow_id)

    async def until_forgotten(self, workflow_id: str) -> None:
        status = partial(handles.status_of, self.client, workflow_id)
        await eventually_async(status, f"{workflow_id} is deleted", until=lambda found: found is None)

    async def until_listed(self, query: str) -> None:
        async def runs() -> list[Any]:
            return [run async for run in self.client.list_workflows(query)]

        await eventually_async(runs, f"a workflow is listed: {query}")

    async def lost(self, order: Order) -> None:
        """Place an order that holds money and goods while it is terminated."""
        fault = Fault(operation="shipping.schedule", transaction=order.transaction_id, kind=FaultKind.HANG)
        self.faults.append(fault)
        handle = await self.start("OrderWorkflow", order.transaction_id, order.model_dump(mode="json"))
        await self.until_begun(handle, "shipping.schedule")
        await self.terminate(order.transaction_id)
        self.faults.remove(fault)

    async def start(self, workflow: str, workflow_id: str, *args: Any) -> WorkflowHandle[Any, Any]:
        return await self.client.start_workflow(workflow, args=args, id=workflow_id, task_queue=WORKFLOWS_QUEUE)

    async def until_begun(self, handle: WorkflowHandle[Any, Any], step: str) -> None:
        await self.until(handle, lambda log: any(entry["step"] == step for entry in log["steps"]))

    async def until(self, handle: WorkflowHandle[Any, Any], true: Callable[[Any], bool]) -> None:
        log = partial(handle.query, "transaction_log")
        await eventually_async(log, f"the log of {handle.id} is as expected", until=true)

    async def status(self, workflow_id: str) -> WorkflowExecutionStatus | None:
        return (await self.client.get_workflow_handle(workflow_id).describe()).status

    def rows(self, service: str, query: str, *values: str) -> list[Any]:
        with sqlite3.connect(self.folder / f"{service}.db", timeout=30) as database:
            return database.execute(query, values).fetchall()

    def state(self, service: str, transaction_id: str) -> str:
        """The state of what a service has of a transaction."""
        table = {"payment": "payments", "inventory": "reservations", "shipping": "shipments", "order": "orders"}[
            service
        ]
        [(state,)] = self.rows(service, f"SELECT state FROM {table} WHERE transaction_id = ?", transaction_id)  # noqa: S608 — ours
        return str(state)

    def let_leases_pass(self, *transactions: str) -> None:
        """As if the holds had been made years ago."""
        for service, table in (("inventory", "reservations"), ("payment", "payments")):
            for transaction in transactions:
                update = f"UPDATE {table} SET lease_until = '2020-01-01 00:00:00.000000' WHERE transaction_id = ?"  # noqa: S608 — ours
                self.rows(service, update, transaction)


@asynccontextmanager
async def rig(folder: Path) -> AsyncIterator[Rig]:
    settings = Settings(database_url=f"sqlite+aiosqlite:///{folder}/{{service}}.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(embedded._TUNING, "history.transferProcessorUpdateAckInterval", '"500ms"')  # for deletions
        async with embedded_server(port=free_port(), ui_port=free_port(), data=folder) as server:
            client = await connection.connect(settings, address=server.address)
            made = Rig(client, server.address, folder, settings)
            async with serving(client, settings, interceptors=[FaultInterceptor(made.faults), made.afterwards]):
                await execute(
                    client, inventory.set_stock, SetStock(transaction_id="stock", sku="BOOK-1", on_hand=10_000)
                )
                account = SetAccount(transaction_id="money", customer_id="c-1", balance_minor=10**8)
                await execute(client, payment.set_account, account)
                yield made
