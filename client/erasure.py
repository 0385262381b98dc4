"""Erases the personal data of one customer in all databases and, if asked to, in Temporal.

The order service comes last: it records who asked for it and why, and a run that was killed before finds the customer's
transactions again.
"""

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime

from pydantic import BaseModel
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import DeleteWorkflowExecutionRequest
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from client import handles
from client.coordinators import workflows_of
from client.errors import OpenOrders, UnknownCustomer
from contracts import order
from contracts.erasure import ERASE, FIND, EraseCustomer, FindCustomer
from contracts.ids import Coordinator, Kind, order_id_of, whole_of
from contracts.message import LEASE
from contracts.retention import MAX_BATCH, RETIRE, Retire, RetireStage, Stays
from runtime.connection import CLOSED_FROM_OUTSIDE
from runtime.execute import execute

MAX_NAMED = 10
"""Open orders named in a refusal, which is one line."""
_AT_ONCE = 50


class Erasure(BaseModel):
    """What was erased: `rows` is 0 if it had been before."""

    customer_id: str
    actor: str
    reason: str
    at: datetime
    transactions: int
    rows: int
    histories: int = 0
    """Runs of workflows deleted in Temporal."""
    batches: tuple[str, ...] = ()
    """Batches that carried an order of the customer: their histories have orders of others too, and were left."""


class Eraser:
    def __init__(self, client: Client) -> None:
        self._client = client

    async def erase(self, customer_id: str, actor: str, reason: str, *, histories: bool = False) -> Erasure:
        """Erase, and return what was erased. Raises `UnknownCustomer` and `OpenOrders`."""
        found = await self._find(customer_id)
        coordinators: dict[str, str] = {}
        still_open: list[str] = []
        for ids in _pages(found):
            still_open += await self._open(ids, coordinators)
        if still_open:
            raise OpenOrders.of_customer(customer_id, [order_id_of(each) for each in still_open], MAX_NAMED)
        at, rows = datetime.now(UTC), 0
        for ids in _pages(found) or [()]:
            request = EraseCustomer(
                customer_id=customer_id, transaction_ids=ids, total=len(found), actor=actor, reason=reason, at=at
            )
            others = [operation for name, operation in ERASE.items() if name != order.QUEUE]
            answers = await asyncio.gather(*(execute(self._client, each, request) for each in others))
            answers.append(await execute(self._client, ERASE[order.QUEUE], request))
            rows += sum(answer.rows for answer in answers)
        result = Erasure(customer_id=customer_id, actor=actor, reason=reason, at=at, transactions=len(found), rows=rows)
        if histories:
            batches = {each for each in coordinators.values() if Coordinator.parse(each).kind is Kind.BATCH}
            result.histories = sum([await self._forget(each, coordinators) for each in found])
            result.batches = tuple(sorted(batches))
        return result

    async def _find(self, customer_id: str) -> list[str]:
        """The customer's transactions, and the whole ones that they are parts of."""
        found: set[str] = set()
        is_known = False
        for operation in FIND.values():
            after: str | None = ""
            while after is not None:
                page = await execute(self._client, operation, FindCustomer(customer_id=customer_id, after=after))
                is_known |= page.is_known
                found |= set(page.transaction_ids)
                after = page.next
        if not is_known:
            raise UnknownCustomer(f"neither an order nor an account of customer {customer_id} is on record")
        return sorted(found | {whole_of(each) for each in found})

    async def _open(self, ids: tuple[str, ...], coordinators: dict[str, str]) -> list[str]:
        """Those that a workflow is working on, that the order service has no end for, or that a sweep will finish."""
        request = Retire(transaction_ids=ids, before=datetime.now(UTC) - LEASE, stage=RetireStage.EXAMINE)
        asked = await asyncio.gather(*(execute(self._client, each, request) for each in RETIRE.values()))
        answers = dict(zip(RETIRE, asked, strict=True))
        coordinators |= answers[order.QUEUE].coordinators
        holding = {tx for answer in answers.values() for tx, why in answer.staying.items() if why is Stays.HOLDS}
        pending = {tx for tx, why in answers[order.QUEUE].staying.items() if why is Stays.HOLDS}
        found: list[str] = []
        for start in range(0, len(ids), _AT_ONCE):
            part = ids[start : start + _AT_ONCE]
            statuses = await asyncio.gather(*(self._statuses(each, coordinators) for each in part))
            for each, status in zip(part, statuses, strict=True):
                is_left = each in holding and not status.isdisjoint(CLOSED_FROM_OUTSIDE)
                if each in pending or is_left or WorkflowExecutionStatus.RUNNING in status:
                    found.append(each)
        return found

    async def _statuses(self, transaction_id: str, coordinators: dict[str, str]) -> set[WorkflowExecutionStatus]:
        known = workflows_of(transaction_id, coordinators.get(transaction_id))
        found = await asyncio.gather(*(handles.status_of(self._client, each) for each in known))
        return {status for status in found if status is not None}

    async def _forget(self, transaction_id: str, coordinators: dict[str, str]) -> int:
        """Have Temporal delete all runs of the transaction's workflows; their number."""
        deleted = 0
        for workflow_id in workflows_of(transaction_id, coordinators.get(transaction_id)):
            if Coordinator.parse(workflow_id).kind is Kind.BATCH:
                continue
            for run in await handles.runs_of(self._client, workflow_id):
                deleted += await self._delete(run.id, run.run_id)
        return deleted

    async def _delete(self, workflow_id: str, run_id: str) -> bool:
        execution = WorkflowExecution(workflow_id=workflow_id, run_id=run_id)
        request = DeleteWorkflowExecutionRequest(namespace=self._client.namespace, workflow_execution=execution)
        try:
            await self._client.workflow_service.delete_workflow_execution(request, retry=True)
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:  # visibility still lists what was deleted just now
                raise
            return False
        return True


def _pages(ids: Iterable[str]) -> list[tuple[str, ...]]:
    every = list(ids)
    return [tuple(every[start : start + MAX_BATCH]) for start in range(0, len(every), MAX_BATCH)]
