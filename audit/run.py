"""One audit: read Temporal, read every database, compare; look again at what seems wrong while orders are under way."""

from contextlib import AsyncExitStack
from urllib.parse import unquote

from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import AsyncConnection
from temporalio.client import Client, WorkflowExecutionStatus

from activities.binding import BoundElsewhere, bound_to, require_same
from activities.catalogue import SERVICES
from activities.database import UNUSABLE, is_busy, reading, reason_of
from audit import contents, crossing, generic, invariants, skips
from audit.crossing import SERVICES_WITH_TRACES, Traces
from audit.report import DecidedSkip, Report, Violation
from client import handles
from contracts.identity import TemporalIdentity
from contracts.ids import ORDER_WORKFLOW, TRANSACTION_WORKFLOW, Coordinator, Kind, is_orders, order_workflow_id
from runtime.connection import Unreachable, identity_of
from runtime.settings import Settings, SettingsError

MAX_SECOND_LOOKS = 1000
"""Suspects that are looked up in Temporal one by one; more than that is no race but a catastrophe, and is reported."""
_CONFIRMED = f"WorkflowType IN ('{ORDER_WORKFLOW}', '{TRANSACTION_WORKFLOW}') AND ExecutionStatus = 'Completed'"
"""Orders and transactions that have told their customer so. Temporal keeps them for its retention."""


async def audit(client: Client, settings: Settings) -> Report:
    """Prove the invariants over every database. Reads only; may run beside running orders.

    Raises `Unreachable`, and `SettingsError` for a database that belongs to another Temporal.
    """
    try:
        return await _audit(client, settings)
    except UNUSABLE as error:
        raise _unreachable("a database of", settings.database_url, error) from error


async def _audit(client: Client, settings: Settings) -> Report:
    here = await identity_of(client)
    async with AsyncExitStack() as stack:
        databases = {}
        for service in SERVICES:
            url = settings.database_of(service)
            try:
                databases[service] = await stack.enter_async_context(reading(url))
                there = await bound_to(databases[service])
            except UNUSABLE as error:
                raise _unreachable(f"the {service} database", url, error) from error
            if here is not None:
                _require_same(service, there, here)
        found = await invariants.stock(databases["inventory"]) + await invariants.money(databases["payment"])
        for service, connection in databases.items():
            found += await invariants.single_effect(connection, service)
        found += await contents.violations(databases)
        traces, suspects, known = await _compare(client, databases)
        if suspects:
            # An order may have begun or ended between two reads: a suspect that is only late is gone at the second.
            for connection in databases.values():
                await connection.rollback()
            traces, again, known = await _compare(client, databases)
            before = {violation.subject for violation in suspects}
            second = [violation for violation in again if violation.subject in before]
            if len(second) <= MAX_SECOND_LOOKS:
                second = [v for v in second if not await _is_open(client, _workflow_of(v.subject), traces)]
            suspects = second
        if len(suspects) <= MAX_SECOND_LOOKS:
            fresh = await skips.not_recorded_yet(client, suspects)
            suspects, known_too = skips.set_apart(traces, suspects, fresh)
            known += known_too
        return Report.of(len(traces.orders), found + suspects, known)


def _unreachable(database: str, url: str, error: Exception) -> Unreachable:
    where = unquote(make_url(url).render_as_string(hide_password=True))
    remedy = "it is busy: try again" if is_busy(error) else "set DATABASE_URL, or start `python worker.py`"
    return Unreachable(f"{database} {where} cannot be read: {reason_of(error)}; {remedy}")


def _require_same(service: str, there: TemporalIdentity | None, here: TemporalIdentity) -> None:
    try:
        require_same(there, here)
    except BoundElsewhere as error:
        remedy = "every order in it would seem to have no workflow; set DATABASE_URL or TEMPORAL_*"
        raise SettingsError(f"the {service} database {error}: {remedy}") from error


async def _compare(
    client: Client, databases: dict[str, AsyncConnection]
) -> tuple[Traces, list[Violation], list[DecidedSkip]]:
    """What is in the databases, what is wrong with it, and what would be wrong without the skips on record."""
    # First: what has completed by now is in the databases that are read after it.
    confirmed = {found.id async for found in handles.listed(client, _CONFIRMED)}
    running = {found.id async for found in handles.listed(client, handles.OPEN)}
    orders, coordinators = await crossing.read_orders(databases["order"])
    states = {
        service: await crossing.read_states(databases[service], service)
        for service in SERVICES_WITH_TRACES
        if service != "order"
    }
    joined = {service: await crossing.first_order_at(databases[service], service) for service in crossing.JOINED}
    created = await crossing.read_created(databases["order"]) if joined else {}
    traces = Traces(orders, coordinators, states, joined, created)
    placed = {workflow_id for workflow_id in confirmed if is_orders(workflow_id)}
    ended = await crossing.read_retiring(databases["order"])  # they were judged before the first of their rows went
    found = [*crossing.violations(traces, running | ended), *crossing.forgotten(traces, running, placed)]
    found += await generic.violations(client, traces)
    found += await generic.forgotten(client, databases, confirmed - placed - running)
    return traces, *skips.set_apart(traces, found, await skips.recorded(databases["order"]))


def _workflow_of(subject: str) -> str:
    """The workflow of its own that an order or a transaction has."""
    return subject if Coordinator.parse(subject).kind is Kind.TRANSACTION else order_workflow_id(subject)


async def _is_open(client: Client, own: str, traces: Traces) -> bool:
    for workflow_id in {own, traces.coordinators.get(own, own)}:
        if await handles.status_of(client, workflow_id) is WorkflowExecutionStatus.RUNNING:
            return True
    return False
