"""The whole system in this process, and what clients and operators do to its workflows."""

from __future__ import annotations

import asyncio
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
from temporal_saga import Parked, TransactionLog

from ..eventually import eventually_async

CUSTOMER, SKU = "c-1", "BOOK-1"
PRICE_MINOR = 1000
UNREACHABLE = {"name": "R. Amundsen", "street": "1 Pole", "city": "South Pole", "postcode": "0", "country": "AQ"}
_HOLDS = (order.list_open, payment.list_open, inventory.list_open, shipping.list_open)
_LOG = TypeAdapter(TransactionLog)
_TIMEOUT_S = 60

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
class Harness:
    client: Client
    faults: list[Fault] = field(default_factory=list)
    """The faults that are injected from now on; the workers share the list."""

    async def start(self, workflow: str, workflow_id: str, *args: Any) -> Handle:
        return await self.client.start_workflow(workflow, args=args, id=workflow_id, task_queue=WORKFLOWS_QUEUE)

    def down(self, operation: str, transaction_id: str) -> None:
        self.faults.append(Fault(operation=operation, transaction=transaction_id, kind=FaultKind.ERROR_BEFORE))

    def refuse(self, operation: str, transaction_id: str) -> None:
        self.faults.append(Fault(operation=operation, transaction=transaction_id, kind=FaultKind.REFUSE))

    def repair(self) -> None:
        self.faults.clear()

    async def reset(self, handle: Handle, *, to_task: int = 0) -> Handle:
        """Start the workflow again from one of its tasks (0 is the first). Return the handle of its newest run."""
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
        """The log of a closed workflow, which a worker replays to answer. Fails if the replay decides differently."""
        log: TransactionLog = await handle.query("transaction_log", result_type=TransactionLog)
        return log

    async def parked(self, handle: Handle) -> set[str]:
        return {call.step for call in await handle.query("parked", result_type=list[Parked])}

    async def until_parked(self, handle: Handle, step: str) -> TransactionLog:
        """Wait until `step` is on the desk. Return the log as it is then."""

        async def is_parked() -> bool:
            assert (await handle.describe()).status is WorkflowExecutionStatus.RUNNING, "the workflow has ended"
            return step in await self.parked(handle)

        await eventually_async(is_parked, f"{step} is parked", timeout_s=_TIMEOUT_S)
        log: TransactionLog = await handle.query("transaction_log", result_type=TransactionLog)
        return log

    async def end(self, handle: Handle) -> TransactionLog:
        """Retry the parked calls, and wait for the end. Return the log."""
        for step in await self.parked(handle):
            await handle.execute_update("desk_retry", step)
        try:
            async with asyncio.timeout(_TIMEOUT_S):
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

    async def balance(self) -> tuple[int, int]:
        """The customer's balance, and how much of it is held."""
        accounts = (await execute(self.client, payment.list_accounts, payment.ListAccounts())).accounts
        [account] = [each for each in accounts if each.customer_id == CUSTOMER]
        return account.balance_minor, account.held_minor
