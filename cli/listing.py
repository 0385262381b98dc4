"""`list`: the orders and transactions, one row each, newest first."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated

import typer
from pydantic import BaseModel
from rich.text import Text
from temporalio.client import Client, WorkflowQueryFailedError
from temporalio.service import RPCError

from cli import carried, session, show
from cli.session import Json
from client import handles
from client.handles import CLOSED_BY_OTHERS, OPEN, Run, WorkflowPaused
from client.standing import STANDINGS, Closed, Standing, standing_in_list, standing_of
from contracts.batch import BATCH_WORKFLOW
from contracts.choreography import DECIDERS, PARTICIPANT_WORKFLOW, order_id_of
from contracts.errors import Code
from contracts.order import transaction_id
from runtime.commandline import CommandFailed, Exit
from runtime.settings import SettingsError
from saga import State, TransactionLog
from saga.journal import SAGA_ERROR_CODE

MAX_LISTED = 10_000
_PAGE = 100
"""Executions asked for at a time: a batch among them stands for some hundreds of orders."""
_OWN = f"({DECIDERS} OR WorkflowType = 'TransactionWorkflow')"
_PARKED_PARTICIPANTS = f"WorkflowType = '{PARTICIPANT_WORKFLOW}' AND SagaState = 'PARKED' AND {OPEN}"
"""The call that does not get through may be that of any service; the order is parked with it."""


class ListedOrder(BaseModel):
    """`paused` is whether its workflow is: then `state` is the one that it was paused in."""

    order_id: str
    transaction_id: str
    state: Standing
    error_code: str | None
    started_at: datetime
    ended_at: datetime | None
    paused: bool = False


def _standing(text: str) -> Standing:
    for standing in STANDINGS:
        if standing == text.upper():
            return standing
    raise typer.BadParameter(f"{text} is none of {', '.join(STANDINGS)}")


def list_(
    state: Annotated[
        str | None,
        typer.Option(metavar="STATE", help=f"Only orders in this state: {', '.join(STANDINGS)}."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=MAX_LISTED)] = 20,
    json: Json = False,
) -> int:
    """The orders and transactions, newest first, with the state of their saga."""
    return session.run(_list, None if state is None else _standing(state), limit, json=json)


async def _list(state: Standing | None, limit: int, *, json: bool) -> int:
    client = await session.connect()
    orders = [listed async for listed in each_listed(client, state, limit)]
    if json:
        show.document(orders)
        return Exit.OK
    rows = [(o.order_id, _state(o), o.error_code, f"{o.started_at:%Y-%m-%d %H:%M:%S}") for o in orders]
    show.table(f"{len(orders)} orders", ["order", "state", "code", "started (UTC)"], rows)
    for hint in _hints(orders):
        show.line(hint)
    return Exit.OK


def _state(order: ListedOrder) -> Text:
    return show.state(order.state).append(", paused" if order.paused else "", "red")


def _hints(orders: list[ListedOrder]) -> list[str]:
    hints = []
    if any(order.state is Closed.CLOSED_FROM_OUTSIDE for order in orders):
        hints.append(f"{Closed.CLOSED_FROM_OUTSIDE}: `starter.py sweep` brings such an order to its end")
    if any(order.paused for order in orders):
        hints.append("paused: `starter.py status ID` says since when, by whom, and how it goes on")
    return hints


async def each_listed(client: Client, state: Standing | None, limit: int) -> AsyncIterator[ListedOrder]:
    """Those with a workflow of their own, and at the place of each batch those that it carries.

    An order is listed once, by the newest run of its workflow: an earlier one tells how the order stood.
    """
    parked = {order_id_of(run.id) async for run in handles.listed(client, _PARKED_PARTICIPANTS)}
    known: set[str] = set()
    async for page in _pages(client, _query(state)):
        # Without a filter the newest run of an order comes first; with one, it may be another that is not found.
        for run in page if state is None else await handles.newest(client, page):
            for found in await _rows(client, run, parked):
                if found.transaction_id in known:
                    continue
                row = await _as_it_stands(client, found)
                if state not in (None, row.state):
                    continue
                known.add(row.transaction_id)
                yield row
                if len(known) == limit:
                    return


def _query(state: Standing | None) -> str:
    """Where the runs are that may be in `state`. Those of a batch are known only when it has been asked."""
    by_state = {
        State.RUNNING: "SagaState IS NULL OR SagaState = 'RUNNING'",
        State.ROLLED_BACK: "SagaState = 'ROLLED_BACK' OR ExecutionStatus = 'Failed'",  # refused before its first step
        Closed.CLOSED_FROM_OUTSIDE: CLOSED_BY_OTHERS,
    }
    other = f"SagaState = '{state}'"
    runs = _OWN if state is None else f"{_OWN} AND ({by_state.get(state, other)})"
    if state is State.PARKED:
        runs += f" OR {_PARKED_PARTICIPANTS}"
    if state is not Closed.CLOSED_FROM_OUTSIDE:
        runs += f" OR WorkflowType = '{BATCH_WORKFLOW}'"
    may_be_closed = state is None or isinstance(state, Closed) or state.is_end
    return runs if may_be_closed else f"({runs}) AND {OPEN}"


async def _pages(client: Client, query: str) -> AsyncIterator[list[Run]]:
    page: list[Run] = []
    async for run in handles.listed(client, query, page_size=_PAGE):
        page.append(run)
        if len(page) == _PAGE:
            yield page
            page = []
    yield page


async def _rows(client: Client, run: Run, parked: set[str]) -> list[ListedOrder]:
    """The orders of one run; none, with a word on stderr, of one that cannot say."""
    try:
        if run.workflow_type == BATCH_WORKFLOW:
            return [_row_of_batch(run, log) for log in await carried.listed(client, run)]
        return [_row(run, parked)]
    except (WorkflowPaused, WorkflowQueryFailedError, RPCError, SettingsError, ValueError) as error:
        show.remark(f"{run.id} is left out: {error}")
        return []


async def _as_it_stands(client: Client, row: ListedOrder) -> ListedOrder:
    """`row`, or, if its run was refused because the order had come before, how that order stands."""
    if row.error_code != Code.IDEMPOTENCY_CONFLICT or not row.transaction_id.startswith(transaction_id("")):
        return row
    try:
        now = await carried.status(client, row.order_id)
    except (CommandFailed, RPCError):
        return row
    code = now.log.error.code if now.log.error else None
    return row.model_copy(update={"state": standing_of(now.log), "error_code": code})


def _row_of_batch(run: Run, log: TransactionLog) -> ListedOrder:
    return ListedOrder(
        order_id=log.transaction_id.rpartition("/")[2],
        transaction_id=log.transaction_id,
        state=log.state,
        error_code=log.error.code if log.error else None,
        started_at=run.started_at,
        ended_at=run.closed_at if log.state.is_end else None,
    )


def _row(run: Run, parked: set[str]) -> ListedOrder:
    own, state = run.workflow_type != PARTICIPANT_WORKFLOW, standing_in_list(run)
    if not own and run.is_open and order_id_of(run.id) in parked:
        state = State.PARKED
    return ListedOrder(
        order_id=order_id_of(run.id),
        transaction_id=run.id.removeprefix("transaction/") if own else transaction_id(order_id_of(run.id)),
        state=state,
        error_code=run.attributes.get(SAGA_ERROR_CODE),
        started_at=run.started_at,
        ended_at=run.closed_at,
        paused=run.is_paused,
    )
