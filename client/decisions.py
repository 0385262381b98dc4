"""The operators' decisions about parked calls, also of workflows that have ended.

They are read from the histories: each decision is an accepted update there, so no worker is needed, and a workflow that
was terminated has them too. The search attribute `SagaDecidedAt` finds the workflows.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.update.v1 import Request
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from client import handles
from client.errors import UnknownOrder
from client.handles import Run
from client.orders import Orders
from contracts.choreography import PARTICIPANTS
from contracts.ids import Coordinator, order_id_of, order_workflow_id, participant_id, transaction_workflow_id
from temporal_saga.visibility import SAGA_DECIDED_AT

_DECISIONS = {"desk_retry": "retry", "desk_skip": "skip", "desk_fix": "fix"}
"""The updates of `SagaWorkflow` that are decisions, and what people call them."""
_DECIDED = f"{SAGA_DECIDED_AT.name} IS NOT NULL"
_NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class LoggedDecision:
    """`decision` is `retry`, `skip` or `fix`. People know an order or a transaction by `order_id`."""

    order_id: str
    step: str
    decision: str
    actor: str | None
    reason: str | None
    at: datetime


async def decisions(client: Client, known_as: str | None, limit: int) -> list[LoggedDecision]:
    """The latest decisions, or those about one order or transaction; the newest first.

    Raises `UnknownOrder`, and `SettingsError` where another key has encrypted a decision.
    """
    runs = await _latest(client, limit) if known_as is None else await _runs_of(client, known_as)
    found: dict[tuple[str, str], LoggedDecision] = {}
    for run in runs:  # the history of a workflow that was reset repeats decisions of the run before
        found |= {(run.id, update_id): taken for update_id, taken in await _decisions_in(client, run)}
    return sorted(found.values(), key=lambda taken: taken.at, reverse=True)[:limit]


async def _latest(client: Client, limit: int) -> list[Run]:
    """The runs with the latest decisions. Visibility of a small server cannot sort."""
    runs = [run async for run in handles.listed(client, _DECIDED)]
    return sorted(runs, key=lambda run: run.attributes.get(SAGA_DECIDED_AT, _NEVER), reverse=True)[:limit]


async def _runs_of(client: Client, known_as: str) -> list[Run]:
    name = order_id_of(known_as)
    if "'" in name or "\\" in name:  # no id has them, and they would end the query's text
        raise UnknownOrder(f"there is no order or transaction {known_as[:80]}; `starter.py list` names the newest")
    ids = [known_as, order_workflow_id(name), transaction_workflow_id(name)]
    ids += [participant_id(name, service) for service in PARTICIPANTS]
    query = f"WorkflowId IN ({', '.join(repr(each) for each in ids)})"
    runs = [run async for run in handles.listed(client, query)]
    if not runs:
        await Orders(client).status(known_as)  # an order of a batch has no decisions; an unknown one is an error
    return runs


async def _decisions_in(client: Client, run: Run) -> list[tuple[str, LoggedDecision]]:
    """The decisions in the history of one run, each with the id of its update."""
    handle = client.get_workflow_handle(run.id, run_id=run.run_id)
    try:
        events = [event async for event in handle.fetch_history_events()]
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:  # it was deleted meanwhile
            raise
        return []
    order_id, taken = Coordinator.parse(run.id).name, []
    for request, at in _accepted(events):
        step, said = [*await client.data_converter.decode(request.input.args.payloads), None, None][:2]
        told: dict[str, Any] = said if isinstance(said, dict) else {}
        decision = _DECISIONS[request.input.name]
        logged = LoggedDecision(order_id, str(step), decision, told.get("actor"), told.get("reason"), at)
        taken.append((request.meta.update_id, logged))
    return taken


def _accepted(events: Iterable[HistoryEvent]) -> Iterable[tuple[Request, datetime]]:
    """The accepted updates that are decisions, and when they were accepted.

    An update that was admitted before its worker had it, as after a reset, has its request in an event of its own.
    """
    admitted: dict[int, Request] = {}
    for event in events:
        if event.HasField("workflow_execution_update_admitted_event_attributes"):
            admitted[event.event_id] = event.workflow_execution_update_admitted_event_attributes.request
        if event.HasField("workflow_execution_update_accepted_event_attributes"):
            accepted = event.workflow_execution_update_accepted_event_attributes
            request = admitted.get(accepted.accepted_request_sequencing_event_id, accepted.accepted_request)
            if request.input.name in _DECISIONS:
                yield request, event.event_time.ToDatetime(tzinfo=UTC)
