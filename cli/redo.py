"""`redo`: brings an order to the end that it had once more, where the services have forgotten it."""

from __future__ import annotations

from pydantic import ValidationError
from temporalio.client import Client
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError

from cli import carried, placing, session, show
from cli.placing import Ended
from cli.session import Json
from client import handles
from contracts.errors import Code
from contracts.order import WORKFLOWS_QUEUE, Order, OrderOptions, transaction_id
from runtime.commandline import CommandFailed, Exit
from workflows.order import OrderWorkflow


def redo(order_id: str, json: Json = False) -> int:
    """After a restore: bring a closed order to its end again, through the fence.

    What the services still know is not done twice. A confirmed order is placed again; of a rolled-back one, what is
    held again is given back. One that a batch or its participants carried gets a workflow of its own, in their name.
    """
    return session.run(_redo, order_id, json=json)


async def _redo(order_id: str, *, json: bool) -> int:
    client = await session.connect()
    ended = await _status(client, order_id)
    if not ended.closed:
        raise _refused(f"{order_id} is under way; redo is for orders that have ended")
    if ended.coordinator is None:
        order, coordinator = await _placed_as(client, order_id)
    else:
        order, coordinator = await _carried(client, ended.log.transaction_id, ended.coordinator), ended.coordinator
    recovering = not ended.log.state.is_confirmed
    try:
        await client.start_workflow(
            OrderWorkflow.run,
            args=[order.model_dump(mode="json"), OrderOptions(recovering=recovering, coordinator=coordinator)],
            id=order.transaction_id,
            task_queue=WORKFLOWS_QUEUE,
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
        )
    except WorkflowAlreadyStartedError as error:
        raise _refused(f"{order_id} is under way: somebody was faster") from error
    log = await placing.wait(client, order)
    outcome = show.Outcome.of(log)
    show.document(outcome) if json else show.outcome(outcome)
    return placing.exit_code(log)


async def _status(client: Client, order_id: str) -> Ended:
    """Raises `CommandFailed`, which says what can be done for an order that only its batch knows."""
    try:
        return await carried.status(client, order_id)
    except CommandFailed as unknown:
        forgotten = "if the order service has forgotten one of a batch, docs/runbook.md says what to do"
        raise CommandFailed(unknown.code, f"{unknown.message}; {forgotten}", unknown.exit_code) from unknown


async def _carried(client: Client, transaction: str, coordinator: str) -> Order:
    """As the order service knows it, or its participant there: that was started with the order, a batch with many."""
    order_id = transaction.removeprefix(transaction_id(""))
    known = (await carried.on_record(client, [order_id])).get(order_id)
    order = known.order if known else await placing.placed_before(client, coordinator)
    if order is None:
        raise _refused(f"{order_id} is not on record any more; docs/runbook.md says what to do")
    return order


async def _placed_as(client: Client, order_id: str) -> tuple[Order, str | None]:
    """What the order's workflow was started with, from the first event of its history."""
    found = await placing.find(client, order_id)
    document, options, *_ = [*await handles.first_arguments(client, found.id), None, None]
    try:
        return Order.model_validate(document), OrderOptions.model_validate(options or {}).coordinator
    except ValidationError as error:
        raise _refused(f"{order_id} was not started with an order; there is nothing to redo") from error


def _refused(message: str) -> CommandFailed:
    return CommandFailed(Code.INVALID_REQUEST, message, Exit.INVALID)
