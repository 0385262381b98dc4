"""The orders and transactions that Temporal lists, one row each: what is parked first, then newest first."""

from collections.abc import AsyncIterator, Callable, Iterable
from datetime import datetime

from pydantic import BaseModel
from temporalio.service import RPCError

from client import handles
from client.engines.batch import BatchEngine
from client.errors import ClientError
from client.handles import CLOSED_BY_OTHERS, OPEN, Run
from client.orders import Orders
from client.standing import Closed, Standing, standing_in_list, standing_of
from contracts.errors import Code
from contracts.ids import (
    BATCH_WORKFLOW,
    DECIDERS,
    PARTICIPANT_WORKFLOW,
    TRANSACTION_WORKFLOW,
    Coordinator,
    Kind,
    is_orders,
    order_id_of,
)
from runtime.execute import OperationFailed
from temporal_saga import State, TransactionLog
from temporal_saga.visibility import SAGA_ERROR_CODE

_PAGE = 100
"""Executions asked for at a time: a batch among them stands for some hundreds of orders."""
_BEYOND_LIMIT = 100
"""Rows looked at beyond those asked for: visibility sorts closed workflows by their end, and the newest order may have
ended before an older one."""
_OWN = f"({DECIDERS} OR WorkflowType = '{TRANSACTION_WORKFLOW}')"
_PARKED_PARTICIPANTS = f"WorkflowType = '{PARTICIPANT_WORKFLOW}' AND SagaState = 'PARKED' AND {OPEN}"
"""The call that does not get through may be that of any service; the order is parked with it."""


_MODES = {Kind.ORDER: "saga", Kind.PARTICIPANT: "choreography", Kind.BATCH: "batch", Kind.TRANSACTION: "transaction"}


class ListedOrder(BaseModel):
    """`kind` is the mode in which an order travels, or `transaction`; a colocated order is a saga too. `coordinator` is
    the workflow that decides. `paused` is whether its workflow is: then `state` is the one that it was paused in."""

    order_id: str
    transaction_id: str
    state: Standing
    error_code: str | None
    started_at: datetime
    ended_at: datetime | None
    kind: str
    coordinator: str
    paused: bool = False

    @property
    def is_parked(self) -> bool:
        return self.state is State.PARKED


async def listed(
    orders: Orders, state: Standing | None, limit: int, left_out: Callable[[str, Exception], None]
) -> list[ListedOrder]:
    """At most `limit` orders, in `state` if that is given: what is parked first, then newest first.

    A workflow that cannot say how its orders stand is `left_out`.
    """
    told: set[str] = set()

    def once(workflow_id: str, why: Exception) -> None:
        if workflow_id not in told:
            told.add(workflow_id)
            left_out(workflow_id, why)

    rows: dict[str, ListedOrder] = {}
    for wanted in [state] if state is not None else [State.PARKED, None]:  # parked ones may be older than all shown
        async for row in _found(orders, wanted, limit + _BEYOND_LIMIT, once):
            rows.setdefault(row.transaction_id, row)
    return in_order(rows.values())[:limit]


def in_order(rows: Iterable[ListedOrder]) -> list[ListedOrder]:
    newest = sorted(rows, key=lambda row: row.started_at, reverse=True)
    return sorted(newest, key=lambda row: not row.is_parked)


async def _found(
    orders: Orders, state: Standing | None, limit: int, left_out: Callable[[str, Exception], None]
) -> AsyncIterator[ListedOrder]:
    """Orders with a workflow of their own, and at the place of each batch the orders in it, in visibility's order.

    An order is listed once, by the newest run of its workflow: an earlier one tells how the order stood.
    """
    parked = {Coordinator.parse(run.id).name async for run in handles.listed(orders.client, _PARKED_PARTICIPANTS)}
    known: set[str] = set()
    async for page in _pages(orders, _query(state)):
        # Without a filter the newest run of an order comes first; with one, it may be another that is not found.
        for run in page if state is None else await handles.newest(orders.client, page):
            for found in await _rows(orders, run, parked, left_out):
                if found.transaction_id in known:
                    continue
                row = await _as_it_stands(orders, run, found)
                if state not in (None, row.state):
                    continue
                known.add(row.transaction_id)
                yield row
                if len(known) == limit:
                    return


def _query(state: Standing | None) -> str:
    """The visibility query for runs that may be in `state`. A batch must be queried for the states of its orders."""
    by_state = {
        State.RUNNING: "SagaState IS NULL OR SagaState = 'RUNNING'",
        State.CONFIRMED: "SagaState = 'CONFIRMED' OR (SagaState IS NULL AND ExecutionStatus = 'Completed')",
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


async def _pages(orders: Orders, query: str) -> AsyncIterator[list[Run]]:
    page: list[Run] = []
    async for run in handles.listed(orders.client, query, page_size=_PAGE):
        page.append(run)
        if len(page) == _PAGE:
            yield page
            page = []
    yield page


async def _rows(
    orders: Orders, run: Run, parked: set[str], left_out: Callable[[str, Exception], None]
) -> list[ListedOrder]:
    try:
        if run.workflow_type == BATCH_WORKFLOW:
            batch = BatchEngine(orders.client, run.id)
            return [_row_of_batch(run, log) for log in await batch.listed(run.status)]
        return [_row(run, parked)]
    except handles.CANNOT_SAY as error:
        left_out(run.id, error)
        return []


async def _as_it_stands(orders: Orders, run: Run, row: ListedOrder) -> ListedOrder:
    """`row`, or how the order stands if its run does not tell: the run was refused because the order was placed before,
    or a later run followed it and was deleted."""
    tells = row.error_code != Code.IDEMPOTENCY_CONFLICT
    if tells and row.state is Closed.CLOSED_FROM_OUTSIDE:
        tells = await handles.status_of(orders.client, run.id) is not None
    if tells or not is_orders(row.transaction_id):
        return row
    try:
        now = await orders.status(row.order_id)
    except (ClientError, OperationFailed, RPCError):
        return row
    code = now.log.error.code if now.log.error else None
    return row.model_copy(update={"state": standing_of(now.log), "error_code": code})


def _row_of_batch(run: Run, log: TransactionLog) -> ListedOrder:
    return ListedOrder(
        order_id=order_id_of(log.transaction_id),
        transaction_id=log.transaction_id,
        state=log.state,
        error_code=log.error.code if log.error else None,
        started_at=run.started_at,
        ended_at=run.closed_at if log.state.is_end else None,
        kind=_MODES[Kind.BATCH],
        coordinator=run.id,
    )


def _row(run: Run, parked: set[str]) -> ListedOrder:
    about, state = Coordinator.parse(run.id), standing_in_list(run)
    if about.kind is Kind.PARTICIPANT and run.is_open and about.name in parked:
        state = State.PARKED
    return ListedOrder(
        order_id=about.name,
        transaction_id=about.name if about.kind is Kind.TRANSACTION else about.transaction_id,
        state=state,
        error_code=run.attributes.get(SAGA_ERROR_CODE),
        started_at=run.started_at,
        ended_at=run.closed_at,
        kind=_MODES.get(about.kind, "saga"),  # any client may start a workflow of ours under an id of its own
        coordinator=run.id,
        paused=run.is_paused,
    )
