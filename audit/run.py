"""One audit: read Temporal, read every database, compare; look again at what seems wrong while orders are under way."""

from __future__ import annotations

from contextlib import AsyncExitStack

from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import AsyncConnection
from temporalio.client import Client, WorkflowExecutionStatus

from activities.catalogue import SERVICES
from activities.database import UNUSABLE, connect_to_read, reason_of
from audit import crossing, generic, invariants
from audit.crossing import SERVICES_WITH_TRACES, Traces
from audit.report import Report, Violation
from client import handles
from contracts.order import transaction_id
from runtime.connection import Unreachable
from runtime.settings import Settings

MAX_SECOND_LOOKS = 1000
"""Suspects that are looked up in Temporal one by one; more than that is no race but a catastrophe, and is reported."""
_CONFIRMED = "WorkflowType = 'OrderWorkflow' AND ExecutionStatus = 'Completed'"
"""Orders that have told their customer so. Temporal keeps them for its retention."""


async def audit(client: Client, settings: Settings) -> Report:
    """Prove the invariants over every database. Reads only; may run beside running orders. Raises `Unreachable`."""
    try:
        return await _audit(client, settings)
    except UNUSABLE as error:
        where = f"a database of {make_url(settings.database_url).render_as_string(hide_password=True)} cannot be read"
        remedy = "set DATABASE_URL, or start `python worker.py`"
        raise Unreachable(f"{where}: {reason_of(error)}; {remedy}") from error


async def _audit(client: Client, settings: Settings) -> Report:
    async with AsyncExitStack() as stack:
        databases = {}
        for service in SERVICES:
            engine = connect_to_read(settings.database_of(service))
            stack.push_async_callback(engine.dispose)
            databases[service] = await stack.enter_async_context(engine.connect())
        found = await invariants.stock(databases["inventory"]) + await invariants.money(databases["payment"])
        for service, connection in databases.items():
            found += await invariants.single_effect(connection, service)
        traces, suspects = await _compare(client, databases)
        if suspects:  # an order may have begun or ended between two reads: who is innocent is not there the second time
            for connection in databases.values():
                await connection.rollback()
            traces, again = await _compare(client, databases)
            before = {violation.subject for violation in suspects}
            second = [violation for violation in again if violation.subject in before]
            if len(second) <= MAX_SECOND_LOOKS:
                second = [v for v in second if not await _is_open(client, transaction_id(v.subject), traces)]
            suspects = second
        return Report.of(len(traces.orders), found + suspects)


async def _compare(client: Client, databases: dict[str, AsyncConnection]) -> tuple[Traces, list[Violation]]:
    # First: what has completed by now is in the databases that are read after it.
    confirmed = {found.id async for found in handles.listed(client, _CONFIRMED)}
    running = {found.id async for found in handles.listed(client, handles.OPEN)}
    orders, carriers = await crossing.read_orders(databases["order"])
    states = {
        service: await crossing.read_states(databases[service], service)
        for service in SERVICES_WITH_TRACES
        if service != "order"
    }
    traces = Traces(orders, carriers, states)
    found = [*crossing.violations(traces, running), *crossing.forgotten(traces, running, confirmed)]
    return traces, [*found, *await generic.violations(client, traces)]


async def _is_open(client: Client, transaction: str, traces: Traces) -> bool:
    for workflow_id in {transaction, traces.carriers.get(transaction, transaction)}:
        if await handles.status_of(client, workflow_id) is WorkflowExecutionStatus.RUNNING:
            return True
    return False
