"""The operators' decisions about parked calls, also of workflows that have ended.

They are read from the histories: each decision is an accepted update there, and a workflow that was terminated has them
too. The search attribute `SagaDecidedAt` finds the workflows. The sweep copies them to the order service
(`recovery/decisions.py`), which knows them for longer than Temporal does.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
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
from contracts import order
from contracts.choreography import PARTICIPANTS
from contracts.ids import Coordinator, Kind, order_id_of, order_workflow_id, participant_id, transaction_workflow_id
from contracts.order import ReadDecisions, TakenDecision
from runtime.execute import OperationFailed, execute
from temporal_saga import Failure
from temporal_saga.visibility import SAGA_DECIDED_AT

DECIDED = f"{SAGA_DECIDED_AT.name} IS NOT NULL"
"""Visibility query for the workflows with a decision."""
_DECISIONS = {"desk_retry": "retry", "desk_skip": "skip", "desk_fix": "fix"}
"""The updates of `SagaWorkflow` that are decisions, and what people call them."""
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


async def decisions(
    client: Client, known_as: str | None, limit: int, silent: Callable[[Failure], None] = lambda _: None
) -> list[LoggedDecision]:
    """The latest decisions, or those about one order or transaction; the newest first.

    `silent` is told why the order service, which knows those that Temporal has forgotten, does not answer. Raises
    `UnknownOrder`, and `SettingsError` where another key has encrypted a decision.
    """
    about = [] if known_as is None else _workflows_of(known_as)
    recorded, runs = await asyncio.gather(
        _recorded(client, about, limit, silent), _latest(client, limit) if known_as is None else _runs_of(client, about)
    )
    if known_as is not None and not (recorded or runs):
        await Orders(client).status(known_as)  # an order of a batch has no decisions; an unknown one is an error
    found: dict[tuple[str, str], TakenDecision] = {}
    for run in runs:  # the history of a workflow that was reset repeats decisions of the run before
        found |= {(taken.workflow_id, taken.update_id): taken for taken in await decided_in(client, run)}
    found |= {(taken.workflow_id, taken.update_id): taken for taken in recorded}
    newest = sorted(found.values(), key=lambda taken: taken.at, reverse=True)[:limit]
    return [
        LoggedDecision(
            Coordinator.parse(taken.workflow_id).name, taken.step, taken.decision, taken.actor, taken.reason, taken.at
        )
        for taken in newest
    ]


async def _recorded(
    client: Client, about: Sequence[str], limit: int, silent: Callable[[Failure], None]
) -> Sequence[TakenDecision]:
    question = ReadDecisions(workflow_ids=tuple(about), limit=limit)
    try:
        return (await execute(client, order.read_decisions, question)).decisions
    except OperationFailed as error:
        silent(Failure(error.code, error.message))
        return ()


async def _latest(client: Client, limit: int) -> list[Run]:
    """The runs with the latest decisions. Visibility of a small server cannot sort."""
    runs = [run async for run in handles.listed(client, DECIDED)]
    return sorted(runs, key=lambda run: run.attributes.get(SAGA_DECIDED_AT, _NEVER), reverse=True)[:limit]


def _workflows_of(known_as: str) -> list[str]:
    """The workflows that may have a desk of an order or a transaction. Raises `UnknownOrder`."""
    name = order_id_of(known_as)
    if "'" in name or "\\" in name:  # no id has them, and they would end the query's text
        raise UnknownOrder.known_as(known_as)
    own = [known_as, order_workflow_id(name), transaction_workflow_id(name)]
    return [*own, *(participant_id(name, service) for service in PARTICIPANTS)]


async def _runs_of(client: Client, workflow_ids: Sequence[str]) -> list[Run]:
    query = f"WorkflowId IN ({', '.join(repr(each) for each in workflow_ids)})"
    return [run async for run in handles.listed(client, query)]


async def decided_in(client: Client, run: Run) -> list[TakenDecision]:
    """The decisions in the history of one run, as they can be stored; none if it is gone."""
    handle = client.get_workflow_handle(run.id, run_id=run.run_id)
    try:
        events = [event async for event in handle.fetch_history_events()]
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:  # it was deleted meanwhile
            raise
        return []
    about, taken = Coordinator.parse(run.id), []
    for request, at in _accepted(events):
        step, said = [*await client.data_converter.decode(request.input.args.payloads), None, None][:2]
        told: dict[str, Any] = said if isinstance(said, dict) else {}
        actor, reason = told.get("actor"), told.get("reason")
        taken.append(
            TakenDecision(
                workflow_id=run.id,
                update_id=storable(request.meta.update_id, 255),
                transaction_id=about.name if about.kind is Kind.TRANSACTION else about.transaction_id,
                step=storable(str(step), 200),
                decision=_DECISIONS[request.input.name],
                actor=None if actor is None else storable(str(actor), 200),
                reason=None if reason is None else storable(str(reason), 1000),
                at=at,
            )
        )
    return taken


def storable(text: str, longest: int) -> str:
    """Any client can send a decision, and PostgreSQL stores no NUL."""
    return "".join(character if character.isprintable() else " " for character in text)[:longest]


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
