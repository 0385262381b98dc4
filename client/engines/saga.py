"""An order with a workflow of its own, which calls the services over their queues, or colocated in its own process."""

from __future__ import annotations

from typing import Any

from temporalio.client import Client, WorkflowHandle
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError

from client import handles
from client.engines.engine import (
    WAIT_BEYOND_DEADLINE_S,
    OrderInput,
    OrderStatus,
    status_at,
    wait_for_saga,
)
from client.errors import DuplicateOrder
from client.updates import request_cancel
from contracts.ids import ORDER_WORKFLOW, order_workflow_id
from contracts.message import same
from contracts.order import WORKFLOWS_QUEUE, Order, OrderOnRecord, OrderOptions
from saga import TransactionLog


class SagaEngine:
    def __init__(self, client: Client, *, colocated: bool = False) -> None:
        self._client = client
        self._options = OrderOptions(colocated=colocated)

    async def start(self, placed: Order) -> None:
        """Start the order's workflow, or find the one that is there if it is of the same content, in whatever mode.

        Raises `DuplicateOrder` if another order has this id.
        """
        try:
            await _start(self._client, placed, self._options, WorkflowIDReusePolicy.REJECT_DUPLICATE)
        except WorkflowAlreadyStartedError as error:
            there = OrderInput.of(await handles.started_with(self._client, placed.transaction_id))
            if there is None or not same(there.order, placed):
                raise DuplicateOrder.of_other_content(placed.order_id) from error

    async def wait(self, placed: Order) -> TransactionLog | None:
        return await wait_for_saga(self._client, placed.transaction_id, placed.deadline_s + WAIT_BEYOND_DEADLINE_S)

    async def status(self, order_id: str) -> OrderStatus | None:
        return await status_at(self._client, order_workflow_id(order_id))

    async def cancel(self, order_id: str, reason: str) -> bool:
        return await request_cancel(self._client, order_workflow_id(order_id), order_id, [reason])

    async def resume(self, placed: OrderOnRecord) -> WorkflowHandle[Any, TransactionLog]:
        return await take_over(self._client, placed.order, placed.coordinator, recovering=True)


async def take_over(
    client: Client, placed: Order, coordinator: str | None, *, recovering: bool
) -> WorkflowHandle[Any, TransactionLog]:
    """Give an order a new run of its own workflow, which acts in the name of `coordinator`.

    `recovering`: undo what was done, unless the order turns out to be confirmed; else go forward from the beginning.
    Raises `WorkflowAlreadyStartedError` if a run is open.
    """
    options = OrderOptions(recovering=recovering, coordinator=coordinator)
    return await _start(client, placed, options, WorkflowIDReusePolicy.ALLOW_DUPLICATE)


async def _start(
    client: Client, placed: Order, options: OrderOptions, reuse: WorkflowIDReusePolicy
) -> WorkflowHandle[Any, TransactionLog]:
    said = options.model_dump(mode="json", exclude_defaults=True)
    return await client.start_workflow(
        ORDER_WORKFLOW,
        args=[placed.model_dump(mode="json"), *([said] if said else [])],
        id=placed.transaction_id,
        task_queue=WORKFLOWS_QUEUE,
        result_type=TransactionLog,
        id_reuse_policy=reuse,
        id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
    )
