"""`place`, `status`, `list` and `cancel`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated

import typer
from pydantic import BaseModel
from temporalio.client import Client, WorkflowExecution, WorkflowExecutionStatus, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from cli import carried, choreographed, documents, placing, session, show
from cli.session import Colocated, Json
from contracts.batch import BATCH_WORKFLOW
from contracts.choreography import DECIDERS, PARTICIPANT_WORKFLOW, order_id_of
from contracts.errors import Code
from contracts.order import Order, transaction_id
from lanes.batches import is_batch
from runtime.commandline import CommandFailed, Exit
from saga import State, TransactionLog
from saga.journal import SAGA_ERROR_CODE, SAGA_STATE

_WATCH_EVERY_S = 1
MAX_LISTED = 10_000
_LIST_PAGE = 100
"""Executions asked for at a time: a batch among them stands for some hundreds of orders."""


class ListedOrder(BaseModel):
    order_id: str
    transaction_id: str
    state: State
    error_code: str | None
    started_at: datetime
    ended_at: datetime | None


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
    by_events: Annotated[bool, typer.Option("--choreographed", help="By events, without an orchestrator.")] = False,
    colocated: Colocated = False,
    json: Json = False,
) -> int:
    """Place an order and wait for its end."""
    if (file is None) == (not item):
        raise CommandFailed(Code.USAGE, "place takes an order document (FILE or -), or --item SKU:QTY", Exit.INVALID)
    if file is not None and (customer is not None or id is not None):
        raise CommandFailed(Code.USAGE, "--customer and --id go with --item; a document has its own", Exit.INVALID)
    made = documents.order_of_options
    order = documents.read_order(file) if file is not None else made(item or [], customer, id)
    if by_events and colocated:
        raise CommandFailed(Code.USAGE, "take either --choreographed or --colocated", Exit.INVALID)
    if by_events:
        return session.run(_place_by_events, order, no_wait=no_wait, json=json)
    return session.run(_place, order, placing.Way.own_workflow(colocated=colocated), no_wait=no_wait, json=json)


async def _place(order: Order, way: placing.Way, *, no_wait: bool, json: bool) -> int:
    client = await session.connect()
    if no_wait:
        await way.start(client, order)
        log = await placing.look(placing.handle_of(client, order.order_id))
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
    return placing.exit_code(now.log)


def list_(
    state: Annotated[State | None, typer.Option(help="Only orders in this state.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=MAX_LISTED)] = 20,
    json: Json = False,
) -> int:
    """The orders and transactions, newest first, with the state of their saga."""
    return session.run(_list, state, limit, json=json)


async def _list(state: State | None, limit: int, *, json: bool) -> int:
    client = await session.connect()
    orders = [listed async for listed in _each_listed(client, state, limit)]
    if json:
        show.document(orders)
    else:
        rows = [(o.order_id, show.state(o.state), o.error_code, f"{o.started_at:%Y-%m-%d %H:%M:%S}") for o in orders]
        show.table(f"{len(orders)} orders", ["order", "state", "code", "started (UTC)"], rows)
    return Exit.OK


async def _each_listed(client: Client, state: State | None, limit: int) -> AsyncIterator[ListedOrder]:
    """Those with a workflow of their own, and at the place of each batch those that it carries."""
    own = f"({DECIDERS} OR WorkflowType = 'TransactionWorkflow')"
    if state is State.RUNNING:
        own += " AND (SagaState IS NULL OR SagaState = 'RUNNING')"
    elif state is not None:
        own += f" AND SagaState = '{state}'"
    listed = 0
    async for found in client.list_workflows(f"({own}) OR WorkflowType = '{BATCH_WORKFLOW}'", page_size=_LIST_PAGE):
        rows = [_listed(found)] if found.workflow_type != BATCH_WORKFLOW else await _listed_batch(client, found)
        for row in rows:
            if state in (None, row.state):
                yield row
                listed += 1
            if listed == limit:
                return


async def _listed_batch(client: Client, found: WorkflowExecution) -> list[ListedOrder]:
    try:
        logs = await carried.listed(client, found)
    except RPCError as error:
        show.remark(f"{found.id} is left out: it does not answer ({error.message})")
        return []
    return [
        ListedOrder(
            order_id=log.transaction_id.rpartition("/")[2],
            transaction_id=log.transaction_id,
            state=log.state,
            error_code=log.error.code if log.error else None,
            started_at=found.start_time,
            ended_at=found.close_time if log.state.is_end else None,
        )
        for log in logs
    ]


def _listed(found: WorkflowExecution) -> ListedOrder:
    attributes = found.typed_search_attributes
    own = found.workflow_type != PARTICIPANT_WORKFLOW
    return ListedOrder(
        order_id=order_id_of(found.id),
        transaction_id=found.id.removeprefix("transaction/") if own else transaction_id(order_id_of(found.id)),
        state=State(attributes.get(SAGA_STATE, State.RUNNING)),
        error_code=attributes.get(SAGA_ERROR_CODE),
        started_at=found.start_time,
        ended_at=found.close_time if found.status is not WorkflowExecutionStatus.RUNNING else None,
    )


def cancel(
    order_id: str, reason: Annotated[str, typer.Option(help="Kept in the order's log.")], json: Json = False
) -> int:
    """Ask for an order to be cancelled; refused with CANCEL_REFUSED once its confirmation has been asked for."""
    return session.run(_cancel, order_id, documents.remark(reason, "--reason"), json=json)


async def _cancel(order_id: str, reason: str, *, json: bool) -> int:
    client = await session.connect()
    now = await carried.status(client, order_id)
    if not now.closed:
        await _ask_to_cancel(client, order_id, now.carrier, reason)
        now = await carried.status(client, order_id)
    if now.closed and not now.log.state.is_end:
        message = f"{order_id}: its workflow was closed from outside; `starter.py sweep` brings the order to an end"
        raise CommandFailed(Code.SERVICE_UNAVAILABLE, message, Exit.NOT_ENDED)
    if now.log.state.is_confirmed:
        raise _refused(f"{order_id} is confirmed")
    answer = CancelAnswer(order_id=order_id, accepted=True, state=now.log.state)
    show.document(answer) if json else show.line(f"{order_id}: cancellation accepted, ", show.state(answer.state))
    return Exit.OK


async def _ask_to_cancel(client: Client, order_id: str, carrier: str | None, reason: str) -> None:
    """Of its own workflow, or of the one that carries it: a batch must be told which."""
    own = order_id.removeprefix(transaction_id(""))
    arguments = [own, reason] if carrier is not None and is_batch(carrier) else [reason]
    try:
        handle = client.get_workflow_handle(carrier) if carrier else (await placing.find(client, order_id))[0]
        if handle.id.startswith("transaction/"):
            told = f"`temporal workflow cancel -w {handle.id}` rolls it back, as long as it can be"
            raise _refused(f"{handle.id} is no order: {told}")
        await placing.update(handle, "cancel_order", arguments)
    except WorkflowUpdateFailedError as error:
        if isinstance(error.cause, ApplicationError):
            raise _refused(f"{order_id}: {error.cause.message}") from error
        raise
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:  # it ended in the meantime: the caller looks again
            raise


def _refused(message: str) -> CommandFailed:
    return CommandFailed(Code.CANCEL_REFUSED, message, Exit.INVALID)
