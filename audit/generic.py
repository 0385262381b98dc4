"""What must hold for transactions given as data: one that failed holds nothing, none is left without an end, and the
services know each step of one that is confirmed.

What a confirmed one holds is its document's business. Steps of services that are not ours are not looked up.
"""

import asyncio
from collections import defaultdict
from collections.abc import Mapping

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError

from activities.catalogue import SERVICES
from activities.fence import RecordState
from audit.crossing import NOTHING, Traces
from audit.report import Invariant, Violation
from client import handles
from contracts.ids import TRANSACTION_WORKFLOW, is_orders, transaction_workflow_id, whole_of
from contracts.order import OrderState
from contracts.transaction import Transaction
from recovery.skips import skips_in
from recovery.tolerance import parts

_AT_ONCE = 100
"""Confirmed transactions whose documents are read, and whose steps are looked up, at a time."""
_FENCED = {handler.operation.name: name for name, service in SERVICES.items() for handler in service.handlers}
"""The service of each operation that leaves an operation record."""
_NOT_CONFIRMED = (
    f"WorkflowType = '{TRANSACTION_WORKFLOW}' AND ExecutionStatus IN ('Failed', 'Terminated', 'TimedOut', 'Canceled')"
)


async def violations(client: Client, traces: Traces) -> list[Violation]:
    holding = holding_of(traces)
    if not holding:
        return []
    closed = {run.id async for run in handles.listed(client, _NOT_CONFIRMED)}
    found = []
    for transaction_id in sorted(holding):
        its_workflow = transaction_workflow_id(transaction_id)
        status = await handles.status_of(client, its_workflow) if its_workflow in closed else None
        if status in (None, WorkflowExecutionStatus.RUNNING, WorkflowExecutionStatus.COMPLETED):
            continue  # a later run may have confirmed what an earlier one left
        failed = status is WorkflowExecutionStatus.FAILED
        again = "its workflow was closed without an end: `starter.py sweep` resumes it"
        figures: dict[str, int | str | None] = {
            name: ", ".join(sorted(s)) for name, s in holding[transaction_id].items()
        }
        found.append(
            Violation(
                invariant=Invariant.ALL_OR_NOTHING if failed else Invariant.ORPHANS,
                subject=its_workflow,
                message="a transaction that failed must hold nothing" if failed else again,
                figures=figures,
            )
        )
    return found


async def forgotten(client: Client, databases: Mapping[str, AsyncConnection], confirmed: set[str]) -> list[Violation]:
    """The workflows in `confirmed` with a step that its service does not know as done: its database is an older backup.

    A step that an operator has skipped is not missed.
    """
    found = []
    for part in parts(sorted(confirmed), _AT_ONCE):
        steps = await asyncio.gather(*(_steps_of(client, workflow_id) for workflow_id in part))
        done = await _done(databases, {transaction for each in steps for transaction, _ in each or ()})
        for workflow_id, wanted in zip(part, steps, strict=True):
            missing = None if wanted is None else wanted - done
            if missing:
                missing -= {(skip.transaction_id, skip.step) for skip in await skips_in(client, workflow_id)}
            if missing == set():
                continue
            if await handles.status_of(client, workflow_id) is WorkflowExecutionStatus.COMPLETED:  # in its newest run
                found.append(_forgotten(workflow_id, missing))
    return found


async def _steps_of(client: Client, workflow_id: str) -> set[tuple[str, str]] | None:
    """The keys of the operation records of a confirmed transaction; `None` if its document cannot be read."""
    try:
        transaction = Transaction.model_validate(await handles.document_of(client, workflow_id))
    except RPCError:
        raise
    except Exception:  # noqa: BLE001 — codecs and converters raise any error; it must not hide the other transactions
        return None
    return {
        (str(step.request(transaction.transaction_id)["transaction_id"]), step.commit)
        for step in transaction.steps
        if step.commit in _FENCED
    }


async def _done(databases: Mapping[str, AsyncConnection], transactions: set[str]) -> set[tuple[str, str]]:
    """The steps of `transactions` that their services know as done."""
    found = set[tuple[str, str]]()
    for service, connection in databases.items():
        columns = SERVICES[service].operation_records.table.c
        query = select(columns.transaction_id, columns.step).where(
            columns.transaction_id.in_(transactions), columns.state == RecordState.DONE
        )
        found |= {(row.transaction_id, row.step) for row in await connection.execute(query)}
    return found


def _forgotten(workflow_id: str, missing: set[tuple[str, str]] | None) -> Violation:
    message = "it ended confirmed, and its document cannot be read: what it did cannot be proven"
    figures: dict[str, int | str | None] = {}
    if missing is not None:
        message = "it ended confirmed, and these steps are not done at their services: `starter.py redo` repeats them"
        services = {_FENCED[step] for _, step in missing}
        figures = {
            service: ", ".join(sorted(step for _, step in missing if _FENCED[step] == service)) for service in services
        }
    return Violation(invariant=Invariant.ALL_OR_NOTHING, subject=workflow_id, message=message, figures=figures)


def holding_of(traces: Traces) -> dict[str, dict[str, set[str]]]:
    """What is held, by transaction and service; `t/part` belongs to the transaction `t`."""
    holding: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for service, states in traces.by_service.items():
        for ours, found in states.items():
            if not is_orders(ours) and found - NOTHING[service]:
                holding[whole_of(ours)][service] |= found - NOTHING[service]
    for ours, state in traces.orders.items():
        if not is_orders(ours) and state != OrderState.CANCELLED:
            holding[whole_of(ours)]["order"].add(state)
    return holding
