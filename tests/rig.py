"""A running system in the test's own process: the real server, every worker, real databases, faults at will."""

import asyncio
import base64
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from pydantic import TypeAdapter
from temporalio import activity
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import DeleteWorkflowExecutionRequest
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from audit.report import Report
from audit.run import audit
from cli.documents import document
from client import handles
from composition.serving import serving
from contracts import inventory, order, payment, shipping
from contracts.inventory import ReserveStock, SetStock, StockLine
from contracts.message import ListOpen
from contracts.order import WORKFLOWS_QUEUE, Order
from contracts.payment import AuthorizePayment, SetAccount
from contracts.recovery import SweepOrders, Swept
from recovery.sweep import Recovery
from runtime import connection
from runtime.execute import execute
from runtime.faults import Fault, FaultInterceptor, FaultKind
from runtime.settings import Settings
from temporal_saga import Parked, TransactionLog

from .eventually import eventually_async
from .resets import reset
from .servers import server_without_pauses

UNREACHABLE = {"name": "R. Amundsen", "street": "1 Pole", "city": "South Pole", "postcode": "0", "country": "AQ"}
CUSTOMERS = ("c-1", "c-2")
_LONG = timedelta(hours=1)
_END_TIMEOUT_S = 60
_LOG = TypeAdapter(TransactionLog)
_HOLDS = (order.list_open, payment.list_open, inventory.list_open, shipping.list_open)

Handle = WorkflowHandle[Any, Any]
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
    """The faults that are injected from now on; the workers share the list."""
    afterwards: Afterwards = field(default_factory=Afterwards)

    async def sweep(self, **options: Any) -> Swept:
        """One sweep. It sees what other tests have left, too: look for what is yours."""
        return await ActivityEnvironment().run(Recovery(self.client, **options).sweep, SweepOrders())

    async def audited(self) -> Report:
        return await audit(self.client, self.settings)

    async def with_another_key(self) -> Client:
        """A client whose payloads this system cannot read."""
        key = base64.urlsafe_b64encode(b"k" * 32).decode()
        return await connection.connect(Settings(payload_key=key), address=self.address)

    def down(self, operation: str, transaction_id: str) -> None:
        """Let every attempt fail: the service may be back for the next."""
        self.faults.append(Fault(operation=operation, transaction=transaction_id, kind=FaultKind.ERROR_BEFORE))

    def refuse(self, operation: str, transaction_id: str = "*") -> None:
        self.faults.append(Fault(operation=operation, transaction=transaction_id, kind=FaultKind.REFUSE))

    def repair(self) -> None:
        self.faults.clear()

    async def start(self, workflow: str, workflow_id: str, *args: Any, **options: Any) -> Handle:
        return await self.client.start_workflow(
            workflow, args=args, id=workflow_id, task_queue=WORKFLOWS_QUEUE, **options
        )

    async def place(self, placed: Order, *options: Any) -> Handle:
        """Start the order's own workflow."""
        return await self.start("OrderWorkflow", placed.transaction_id, placed, *options)

    async def refused(self, placed: Order, *options: Any) -> BaseException | None:
        """Place an order that is refused or rolled back. Return why."""
        with pytest.raises(WorkflowFailureError) as failed:
            await (await self.place(placed, *options)).result()
        return failed.value.cause

    async def batch(self, *placed: Order) -> Handle:
        """Place orders as a batch that has ended."""
        batch = await self.start("BatchWorkflow", f"batch/{name('b')}", list(placed))
        await batch.result()
        return batch

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
        await self.client.get_workflow_handle(workflow_id).terminate("terminated by a test")
        await self.until_listed(f'WorkflowId = "{workflow_id}" AND ExecutionStatus = "Terminated"')

    async def reset(self, handle: Handle, *, to_task: int = 0) -> Handle:
        """Return the handle of its newest run."""
        await reset(self.client, handle, to_task=to_task)
        return self.client.get_workflow_handle(handle.id)

    async def forget(self, *workflow_ids: str) -> None:
        """Return when Temporal has deleted the workflows, as it does after the retention."""
        for each in workflow_ids:
            request = DeleteWorkflowExecutionRequest(
                namespace=self.client.namespace, workflow_execution=WorkflowExecution(workflow_id=each)
            )
            await self.client.workflow_service.delete_workflow_execution(request)
        for each in workflow_ids:
            await self.until_forgotten(each)

    async def until_forgotten(self, workflow_id: str) -> None:
        await eventually_async(lambda: self.is_known(workflow_id), f"{workflow_id} is deleted", until=lambda it: not it)

    async def is_known(self, workflow_id: str) -> bool:
        return await handles.status_of(self.client, workflow_id) is not None

    async def until_listed(self, query: str) -> None:
        async def runs() -> list[Any]:
            return [run async for run in self.client.list_workflows(query)]

        await eventually_async(runs, f"a workflow is listed: {query}")

    async def lost(self, placed: Order) -> None:
        """Place an order that holds money and goods while it is terminated."""
        fault = Fault(operation="shipping.schedule", transaction=placed.transaction_id, kind=FaultKind.HANG)
        self.faults.append(fault)
        await self.until_begun(await self.place(placed), "shipping.schedule")
        await self.terminate(placed.transaction_id)
        self.faults.remove(fault)

    async def until_begun(self, handle: Handle, step: str) -> None:
        await self.until(handle, lambda log: any(entry.step == step for entry in log.steps))

    async def until(self, handle: Handle, true: Callable[[TransactionLog], bool]) -> TransactionLog:
        return await eventually_async(partial(self.log, handle), f"the log of {handle.id} is as expected", until=true)

    async def log(self, handle: Handle) -> TransactionLog:
        """The log, which a worker replays to answer if the workflow is closed; fails if it decides differently."""
        log: TransactionLog = await handle.query("transaction_log", result_type=TransactionLog)
        return log

    async def parked(self, handle: Handle) -> set[str]:
        return {call.step for call in await handle.query("parked", result_type=list[Parked])}

    async def until_parked(self, handle: Handle, step: str) -> TransactionLog:
        """Wait until `step` is on the desk. Return the log as it is then."""
        await eventually_async(partial(self.parked, handle), f"{step} is parked", until=lambda steps: step in steps)
        return await self.log(handle)

    async def end(self, handle: Handle) -> TransactionLog:
        """Retry the parked calls, and wait for the end. Return the log."""
        for step in await self.parked(handle):
            await handle.execute_update("desk_retry", step)
        try:
            async with asyncio.timeout(_END_TIMEOUT_S):
                return _LOG.validate_python(await handle.result())
        except WorkflowFailureError as failed:
            assert isinstance(failed.cause, ApplicationError), failed.cause
            return _LOG.validate_python(failed.cause.details[0])

    async def held(self, transaction_id: str) -> set[str]:
        """The services that hold something for the transaction."""
        before = transaction_id[:-1] + chr(ord(transaction_id[-1]) - 1)  # the page starts after it
        found = set()
        for operation in _HOLDS:
            page = await execute(self.client, operation, ListOpen(after=before))
            found |= {operation.service} if transaction_id in page.transaction_ids else set()
        return found

    async def status(self, workflow_id: str) -> WorkflowExecutionStatus | None:
        return await handles.status_of(self.client, workflow_id)

    def rows(self, service: str, query: str, *values: str) -> list[Any]:
        with sqlite3.connect(self.folder / f"{service}.db", timeout=30) as database:
            return database.execute(query, values).fetchall()

    def balance(self, customer_id: str) -> tuple[int, int]:
        """The customer's balance, and how much of it is held."""
        query = "SELECT balance_minor, held_minor FROM accounts WHERE customer_id = ?"
        [(balance, held)] = self.rows("payment", query, customer_id)
        return balance, held

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
async def running_rig(folder: Path) -> AsyncIterator[Rig]:
    settings = Settings(database_url=f"sqlite+aiosqlite:///{folder}/{{service}}.db")
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(server_without_pauses(folder))
        client = await connection.connect(settings, address=server.address)
        made = Rig(client, server.address, folder, settings)
        await stack.enter_async_context(
            serving(client, settings, interceptors=[FaultInterceptor(made.faults), made.afterwards])
        )
        await execute(client, inventory.set_stock, SetStock(transaction_id="stock", sku="BOOK-1", on_hand=10_000))
        for customer in CUSTOMERS:
            money = SetAccount(transaction_id=f"money-{customer}", customer_id=customer, balance_minor=10**8)
            await execute(client, payment.set_account, money)
        yield made
