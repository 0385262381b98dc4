"""Detaching an order from its batch: a workflow of its own continues the order's transaction through the fence."""

import asyncio
from collections.abc import Callable, Sequence

from temporalio import workflow
from temporalio.common import RawValue, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError

from contracts.order import WORKFLOWS_QUEUE, OrderOptions
from temporal_saga import POLICIES
from workflows.announcing import memo_of_child
from workflows.batch_member import BatchMember
from workflows.order import OrderWorkflow

_CONCURRENT_STARTS = 50
"""Five hundred workflows started at once would delay the other orders of the worker."""


async def detach(members: Sequence[BatchMember], options: Callable[[BatchMember], OrderOptions]) -> None:
    """Return when each order has a workflow of its own, which continues after the end of the batch."""
    for member in members:
        member.detached = True
        fields = {"transaction_id": member.order.transaction_id, "service": "saga", "status": "DETACHED"}
        workflow.logger.warning("saga", extra=fields)
    for start in range(0, len(members), _CONCURRENT_STARTS):
        chunk = members[start : start + _CONCURRENT_STARTS]
        await asyncio.gather(*(_start_own_workflow(member, options(member)) for member in chunk))


async def _start_own_workflow(member: BatchMember, options: OrderOptions) -> None:
    """Retry until the child workflow starts. Another workflow may hold its id (a second placing, a sweep); it may know
    nothing of what the batch has done, so wait for it to close. Starting twice is safe: operations are idempotent."""
    rounds = 0
    while True:
        try:
            await workflow.start_child_workflow(
                OrderWorkflow.__name__,
                args=[member.order, options],
                id=member.order.transaction_id,
                result_type=RawValue,  # it may be of any build; the batch does not read it
                task_queue=WORKFLOWS_QUEUE,
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
                parent_close_policy=workflow.ParentClosePolicy.ABANDON,
                cancellation_type=workflow.ChildWorkflowCancellationType.ABANDON,
                memo=memo_of_child(),
                static_summary="detached from its batch",
                static_details=f"`{workflow.info().workflow_id}` has left this order to a workflow of its own.",
            )
        except WorkflowAlreadyStartedError:
            rounds += 1
            await workflow.sleep(
                POLICIES.rounds.pause(rounds), summary=f"until {member.order.transaction_id} is closed"
            )
        else:
            return
