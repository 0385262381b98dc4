"""An order with a workflow of its own, which calls the services over their queues, or colocated in its own process."""

from collections.abc import Coroutine
from typing import Any

from temporalio.client import Client, WorkflowHandle
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError

from client import handles, updates
from client.engines.engine import WAIT_BEYOND_DEADLINE_S, OrderInput, OrderStatus, end_of_saga, status_at, wait_for_saga
from client.errors import DuplicateOrder
from client.updates import request_cancel
from contracts.ids import ORDER_WORKFLOW, order_workflow_id
from contracts.message import same
from contracts.order import WORKFLOWS_QUEUE, Order, OrderOnRecord, OrderOptions
from runtime import summaries
from temporal_saga import TransactionLog


class SagaEngine:
    def __init__(self, client: Client, *, colocated: bool = False) -> None:
        self._client = client
        self._options = OrderOptions(colocated=colocated)

    async def start(self, placed: Order) -> None:
        """Start the order's workflow, or find the one that is there if it is of the same content, in whatever mode.

        Raises `DuplicateOrder` if another order has this id.
        """
        try:
            started = _with_input(self._client, placed, self._options, WorkflowIDReusePolicy.REJECT_DUPLICATE)
            await self._client.start_workflow(**started)
        except WorkflowAlreadyStartedError as error:
            await self._require_same(placed, error)

    async def wait(self, placed: Order) -> TransactionLog | None:
        return await self._wait(placed)

    async def decision(self, placed: Order) -> TransactionLog | None:
        return await self._wait(placed, self._decision(placed))

    async def _decision(self, placed: Order) -> TransactionLog | None:
        started = _with_input(self._client, placed, self._options, WorkflowIDReusePolicy.REJECT_DUPLICATE)
        content = placed.model_dump_json().encode()
        try:
            log = await updates.start_for_decision(self._client, started, content, TransactionLog)
        except WorkflowAlreadyStartedError as error:
            await self._require_same(placed, error)
            log = await updates.decision(self._client, placed.transaction_id, content, TransactionLog)
        return log or await end_of_saga(self._client, placed.transaction_id)

    async def _wait(
        self, placed: Order, end: Coroutine[Any, Any, TransactionLog | None] | None = None
    ) -> TransactionLog | None:
        seconds = placed.deadline_s + WAIT_BEYOND_DEADLINE_S
        return await wait_for_saga(self._client, placed.transaction_id, seconds, end)

    async def _require_same(self, placed: Order, started_before: WorkflowAlreadyStartedError) -> None:
        """Raise `DuplicateOrder` if the order's workflow was started with another content."""
        there = OrderInput.of(await handles.started_with(self._client, placed.transaction_id))
        if there is None or not same(there.order, placed):
            raise DuplicateOrder.of_other_content(placed.order_id) from started_before

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
    started = _with_input(client, placed, options, WorkflowIDReusePolicy.ALLOW_DUPLICATE)
    handle: WorkflowHandle[Any, TransactionLog] = await client.start_workflow(**started)
    return handle


def _with_input(client: Client, placed: Order, options: OrderOptions, reuse: WorkflowIDReusePolicy) -> dict[str, Any]:
    """How the order's workflow is started: the arguments of `Client.start_workflow`."""
    said = options.model_dump(mode="json", exclude_defaults=True)
    return {
        "workflow": ORDER_WORKFLOW,
        "args": [placed.model_dump(mode="json"), *([said] if said else [])],
        "id": placed.transaction_id,
        "task_queue": WORKFLOWS_QUEUE,
        "result_type": TransactionLog,
        "id_reuse_policy": reuse,
        "id_conflict_policy": WorkflowIDConflictPolicy.FAIL,
        **_summary(client, placed, options, reuse),
    }


def _summary(client: Client, placed: Order, options: OrderOptions, reuse: WorkflowIDReusePolicy) -> summaries.Summary:
    """What the Web UI says of the workflow: what it is to do, and in whose name."""
    if reuse is WorkflowIDReusePolicy.REJECT_DUPLICATE:
        return summaries.of_order(client, placed, "colocated" if options.colocated else "saga")
    begun_by = f"This run takes over from `{options.coordinator or placed.transaction_id}`, which is closed"
    if options.recovering:
        why = f"{begun_by}: it undoes what was done, unless the order turns out to be confirmed."
        return summaries.of_order(client, placed, "recovery", why)
    return summaries.of_order(client, placed, "redo", f"{begun_by}: it goes forward from the beginning.")
