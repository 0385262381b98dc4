"""Handing an order of a batch to a workflow of its own, under the order's own transaction: the fence knows the rest."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from temporalio import workflow
from temporalio.common import RawValue, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError

from contracts.order import WORKFLOWS_QUEUE, OrderOptions
from saga import POLICIES
from workflows.batch_member import BatchMember
from workflows.order import OrderWorkflow

_AT_ONCE = 50
"""Workflows started at a time: five hundred at once would crowd out the orders under way."""


async def detach(orders: Sequence[BatchMember], options: Callable[[BatchMember], OrderOptions]) -> None:
    """Return when each has a workflow of its own, which outlives the batch."""
    for each in orders:
        each.detached = True
        fields = {"transaction_id": each.order.transaction_id, "service": "saga", "status": "DETACHED"}
        workflow.logger.warning("saga", extra=fields)
    for start in range(0, len(orders), _AT_ONCE):
        await asyncio.gather(*(_start(each, options(each)) for each in orders[start : start + _AT_ONCE]))


async def _start(each: BatchMember, options: OrderOptions) -> None:
    """Until it is started. Who has the id now (a second placing, a sweep) may know nothing of what the batch has done,
    and comes to its end: then it is our turn. Twice is harmless."""
    rounds = 0
    while True:
        try:
            await workflow.start_child_workflow(
                OrderWorkflow.__name__,
                args=[each.order, options],
                id=each.order.transaction_id,
                result_type=RawValue,  # of any build; nobody here waits for it
                task_queue=WORKFLOWS_QUEUE,
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
                parent_close_policy=workflow.ParentClosePolicy.ABANDON,
                cancellation_type=workflow.ChildWorkflowCancellationType.ABANDON,
            )
        except WorkflowAlreadyStartedError:
            rounds += 1
            await workflow.sleep(POLICIES.rounds.pause(rounds))
        else:
            return
