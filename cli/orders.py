"""`place`, `status` and `cancel`."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer
from pydantic import BaseModel
from temporalio.client import Client, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from cli import carried, choreographed, documents, placing, session, show
from cli.session import Json, Mode
from client.standing import look
from contracts.errors import Code
from contracts.order import Order, transaction_id
from lanes.batches import is_batch
from lanes.outcome import closed_from_outside
from runtime.commandline import CommandFailed, Exit
from saga import State, TransactionLog

_WATCH_EVERY_S = 1


class CancelAnswer(BaseModel):
    order_id: str
    accepted: bool
    state: State


def place(
    file: Annotated[str | None, typer.Argument(help="An order document in JSON, or - for stdin.")] = None,
    item: Annotated[list[str] | None, typer.Option(help="SKU:QTY, repeatable, in place of a file.")] = None,
    customer: Annotated[str | None, typer.Option(help="With --item: whose account is charged; default c-1.")] = None,
    id: Annotated[str | None, typer.Option(help="With --item: the order's id; default: a new one.")] = None,  # noqa: A002 — the option's name
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Do not wait for the order's end.")] = False,
    mode: Annotated[
        Mode,
        typer.Option(
            metavar="MODE",
            help="saga: a workflow over the services' queues. colocated: the same, but the workflow's worker calls the "
            "services itself first. choreography: by events, without an orchestrator.",
        ),
    ] = Mode.SAGA,
    json: Json = False,
) -> int:
    """Place an order and wait for its end."""
    if (file is None) == (not item):
        raise CommandFailed(Code.USAGE, "place takes an order document (FILE or -), or --item SKU:QTY", Exit.INVALID)
    if file is not None and (customer is not None or id is not None):
        raise CommandFailed(Code.USAGE, "--customer and --id go with --item; a document has its own", Exit.INVALID)
    made = documents.order_of_options
    order = documents.read_order(file) if file is not None else made(item or [], customer, id)
    if mode is Mode.BATCH:
        message = "--mode batch is for many orders: see bulk; place takes saga, colocated or choreography"
        raise CommandFailed(Code.USAGE, message, Exit.INVALID)
    if mode is Mode.CHOREOGRAPHY:
        return session.run(_place_by_events, order, no_wait=no_wait, json=json)
    way = placing.Way.own_workflow(colocated=mode is Mode.COLOCATED)
    return session.run(_place, order, way, no_wait=no_wait, json=json)


async def _place(order: Order, way: placing.Way, *, no_wait: bool, json: bool) -> int:
    client = await session.connect()
    if no_wait:
        await way.start(client, order)
        log = await look(client, order.transaction_id)
    else:
        log = await carried.place(client, order, placing.Patience(), way)
    return _placed(log, no_wait=no_wait, json=json)


async def _place_by_events(order: Order, *, no_wait: bool, json: bool) -> int:
    client = await session.connect()
    if no_wait:
        await choreographed.start(client, order)
        log = (await choreographed.status(client, order.order_id)).log
    else:
        way = placing.Way(choreographed.start, choreographed.wait)
        log = await carried.place(client, order, placing.Patience(), way)
    return _placed(log, no_wait=no_wait, json=json)


def _placed(log: TransactionLog, *, no_wait: bool, json: bool) -> int:
    outcome = show.Outcome.of(log)
    show.document(outcome) if json else show.outcome(outcome)
    return Exit.OK if no_wait else placing.exit_code(log)


def status(
    order_id: str,
    watch: Annotated[bool, typer.Option("--watch", help="Print anew at each change until the order ends.")] = False,
    json: Json = False,
) -> int:
    """The transaction log of one order, or of a transaction given as data, during and after."""
    return session.run(_status, order_id, watch=watch, json=json)


async def _status(order_id: str, *, watch: bool, json: bool) -> int:
    client = await session.connect()
    now = await carried.status(client, order_id)
    while watch and not now.closed:
        before = now
        while not now.closed and now.log == before.log:
            await asyncio.sleep(_WATCH_EVERY_S)
            now = await carried.status(client, order_id)
        if not json and not now.closed:
            show.outcome(show.Outcome.of(before.log))
    outcome = show.Outcome.of(now.log)
    show.document(outcome) if json else show.outcome(outcome)
    if not json and not placing.is_paused(now.log):
        _show_notes(now.log)
    return placing.exit_code(now.log)


def _show_notes(log: TransactionLog) -> None:
    """What keeps calls from being tried, where the order's error is another one."""
    for entry in log.steps:
        if entry.note is not None and entry.ended_at is None:
            show.line(entry.note)


def cancel(
    order_id: str, reason: Annotated[str, typer.Option(help="Kept in the order's log.")], json: Json = False
) -> int:
    """Ask for an order to be cancelled; refused with CANCEL_REFUSED once its confirmation has been asked for."""
    return session.run(_cancel, order_id, documents.remark(reason, "--reason"), json=json)


async def _cancel(order_id: str, reason: str, *, json: bool) -> int:
    client = await session.connect()
    now = await carried.status(client, order_id)
    asked = not now.closed and await _ask_to_cancel(client, order_id, now.coordinator, reason)
    if not now.closed:
        now = await carried.status(client, order_id)
    if now.closed:
        _require_cancelled(order_id, now.log, asked=asked)
    answer = CancelAnswer(order_id=order_id, accepted=True, state=now.log.state)
    show.document(answer) if json else show.line(f"{order_id}: cancellation accepted, ", show.state(answer.state))
    return Exit.OK


def _require_cancelled(order_id: str, log: TransactionLog, *, asked: bool) -> None:
    """Raise `CommandFailed` if the order came to its end without this cancel, and without one before it."""
    if not log.state.is_end:
        failure = log.error or closed_from_outside(log.transaction_id)
        raise CommandFailed(Code.CLOSED_FROM_OUTSIDE, f"{order_id}: {failure.message}", Exit.NOT_ENDED)
    if log.error is None:
        raise _refused(f"{order_id} is confirmed: it ended {log.state}")
    if not asked and log.error.code != Code.CANCELLED:
        message = f"{order_id} has ended before: {log.state}, {log.error.code}; there is nothing left to cancel"
        raise CommandFailed(Code.ALREADY_ENDED, message, Exit.INVALID)


async def _ask_to_cancel(client: Client, order_id: str, coordinator: str | None, reason: str) -> bool:
    """Of its own workflow, or of the one that carries it: a batch must be told which. False if it has just ended."""
    own = order_id.removeprefix(transaction_id(""))
    arguments = [own, reason] if coordinator is not None and is_batch(coordinator) else [reason]
    workflow_id = coordinator or (await placing.find(client, order_id)).id
    if workflow_id.startswith("transaction/"):
        told = f"`temporal workflow cancel -w {workflow_id}` rolls it back, as long as it can be"
        raise _refused(f"{workflow_id} is no order: {told}")
    try:
        await placing.update(client, client.get_workflow_handle(workflow_id), "cancel_order", arguments)
    except WorkflowUpdateFailedError as error:
        if isinstance(error.cause, ApplicationError):
            raise _refused(f"{order_id}: {error.cause.message}") from error
        raise
    except RPCError as error:
        await placing.require_not_paused(client, workflow_id)
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        return False
    return True


def _refused(message: str) -> CommandFailed:
    return CommandFailed(Code.CANCEL_REFUSED, message, Exit.INVALID)
