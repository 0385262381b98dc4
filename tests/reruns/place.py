"""The whole system in this process, and what is done to its workflows from outside."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from pydantic import TypeAdapter
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError

from cli.documents import document
from contracts import inventory, order, payment, shipping
from contracts.message import ListOpen
from contracts.order import WORKFLOWS_QUEUE
from runtime.execute import execute
from runtime.faults import Fault, FaultKind
from saga import Parked, TransactionLog

CUSTOMER, SKU = "c-1", "BOOK-1"
PRICE_MINOR = 1000
NOWHERE = {"name": "R. Amundsen", "street": "1 Pole", "city": "South Pole", "postcode": "0", "country": "AQ"}
_HOLDS = (order.list_open, payment.list_open, inventory.list_open, shipping.list_open)
_LOG = TypeAdapter(TransactionLog)
_PATIENCE_S = 60

Document = dict[str, Any]
Handle = WorkflowHandle[Any, Any]


def an_order(**changes: Any) -> Document:
    line = {"sku": SKU, "quantity": 1, "unit_price_minor": PRICE_MINOR}
    return document(f"o-{uuid4().hex[:8]}", CUSTOMER, [line]) | {"deadline_s": 600} | changes


def a_transaction(*steps: Document) -> Document:
    return {"transaction_id": f"t-{uuid4().hex[:8]}", "steps": list(steps)}


def a_step(commit: str, rollback: str | None, **inputs: Any) -> Document:
    undo = {} if rollback is None else {"rollback": rollback}
    return {"name": commit.replace(".", "-"), "commit": commit, "input": {"order_id": "o"} | inputs} | undo


@dataclass
class Place:
    client: Client
    faults: list[Fault] = field(default_factory=list)
    """What goes wrong from now on; the workers share the list."""

    async def start(self, workflow: str, workflow_id: str, *args: Any) -> Handle:
        return await self.client.start_workflow(workflow, args=args, id=workflow_id, task_queue=WORKFLOWS_QUEUE)

    def down(self, operation: str, transaction_id: str) -> None:
        self.faults.append(Fault(operation=operation, transaction=transaction_id, kind=FaultKind.ERROR_BEFORE))

    def refuse(self, operation: str, transaction_id: str) -> None:
        self.faults.append(Fault(operation=operation, transaction=transaction_id, kind=FaultKind.REFUSE))

    def repair(self) -> None:
        self.faults.clear()

    async def reset(self, handle: Handle, *, to_task: int = 0) -> Handle:
        """Begin the workflow anew from one of its tasks, the first is 0; the handle of its newest run."""
        history = await handle.fetch_history()
        done = [e for e in history.events if e.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED]
        request = ResetWorkflowExecutionRequest(
            namespace=self.client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=handle.id),
            reason="a test",
            request_id=str(uuid4()),
            workflow_task_finish_event_id=done[to_task].event_id,
        )
        await self.client.workflow_service.reset_workflow_execution(request)
        return self.client.get_workflow_handle(handle.id)

    async def replayed(self, handle: Handle) -> TransactionLog:
        """The log of a closed workflow, which a worker makes from its history: fails if that is not decided again."""
        log: TransactionLog = await handle.query("transaction_log", result_type=TransactionLog)
        return log

    async def until(self, true: Callable[[], Any]) -> None:
        """Wait until the awaited result of `true` is true."""
        async with asyncio.timeout(_PATIENCE_S):
            while not await true():
                await asyncio.sleep(0.05)

    async def parked(self, handle: Handle) -> set[str]:
        return {call.step for call in await handle.query("parked", result_type=list[Parked])}

    async def until_parked(self, handle: Handle, step: str) -> TransactionLog:
        """Wait until `step` is on the desk; the log as it is then."""

        async def is_parked() -> bool:
            assert (await handle.describe()).status is WorkflowExecutionStatus.RUNNING, "it has ended"
            return step in await self.parked(handle)

        await self.until(is_parked)
        log: TransactionLog = await handle.query("transaction_log", result_type=TransactionLog)
        return log

    async def end(self, handle: Handle) -> TransactionLog:
        """Retry what is parked, and wait for the end."""
        for step in await self.parked(handle):
            await handle.execute_update("desk_retry", step)
        try:
            async with asyncio.timeout(_PATIENCE_S):
                return _LOG.validate_python(await handle.result())
        except WorkflowFailureError as failed:
            assert isinstance(failed.cause, ApplicationError), failed.cause
            return _LOG.validate_python(failed.cause.details[0])

    async def held(self, transaction_id: str) -> set[str]:
        """The services that have something open for the transaction."""
        before = transaction_id[:-1] + chr(ord(transaction_id[-1]) - 1)  # the page begins just before it
        found = set()
        for operation in _HOLDS:
            page = await execute(self.client, operation, ListOpen(after=before))
            found |= {operation.service} if transaction_id in page.transaction_ids else set()
        return found

    async def balance(self) -> tuple[int, int]:
        """What the customer has, and what of it is held."""
        accounts = (await execute(self.client, payment.list_accounts, payment.ListAccounts())).accounts
        [account] = [each for each in accounts if each.customer_id == CUSTOMER]
        return account.balance_minor, account.held_minor
