"""What operators left undone: read from closed workflows, and copied to the order service, which keeps it.

Temporal forgets a closed workflow after its retention. The services still show what the skipped call would have
changed, so the audit must know for longer that a person has settled it by other means.
"""

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import TypeAdapter, ValidationError
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from client import handles
from client.decisions import storable
from client.handles import Run
from contracts.order import RecordSkips, SkippedStep, record_skips
from recovery.tolerance import Round
from runtime.execute import execute
from temporal_saga import TransactionLog

_WITH_SKIPS = "SagaState IN ('CONFIRMED_WITH_SKIPS', 'ROLLED_BACK_WITH_SKIPS') AND CloseTime IS NOT NULL"
_ENDED = (WorkflowExecutionStatus.COMPLETED, WorkflowExecutionStatus.FAILED)
_LOG = TypeAdapter(TransactionLog)


@dataclass(frozen=True)
class SkippedCall:
    """`step` is the operation that was left undone; `transaction_id` the one that its request named."""

    transaction_id: str
    step: str
    actor: str
    reason: str
    at: datetime


async def keep_skips(client: Client, round_: Round) -> None:
    """Copy the skips of all closed workflows to the order service."""

    async def keep(found: Run) -> None:
        await _keep(client, await skips_in(client, found.id, found.run_id))

    ended = [found async for found in handles.listed(client, _WITH_SKIPS)]
    await round_.each(ended, lambda found: found.id, keep)


async def _keep(client: Client, skips: list[SkippedCall]) -> None:
    by_transaction: dict[str, list[SkippedStep]] = defaultdict(list)
    for skip in skips:
        said = SkippedStep(
            step=skip.step, actor=storable(skip.actor, 200), reason=storable(skip.reason, 1000), at=skip.at
        )
        by_transaction[skip.transaction_id].append(said)
    for transaction_id, steps in by_transaction.items():
        await execute(client, record_skips, RecordSkips(transaction_id=transaction_id, skips=tuple(steps)))


async def skips_in(client: Client, workflow_id: str, run_id: str | None = None) -> list[SkippedCall]:
    """What operators left undone in a closed workflow with a saga; nothing if it runs, is gone, or has no saga."""
    handle = client.get_workflow_handle(workflow_id, run_id=run_id)
    try:
        if await handles.status_of(client, workflow_id, run_id) not in _ENDED:
            return []
        ended = await handle.result(follow_runs=False)
    except WorkflowFailureError as error:
        details = error.cause.details if isinstance(error.cause, ApplicationError) else ()
        ended = details[0] if details else None
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        ended = None
    return [] if ended is None else _skips_of(ended)


def _skips_of(ended: Any) -> list[SkippedCall]:
    """`ended` is what a workflow left: a transaction log, or a participant's log and events."""
    try:
        log = _LOG.validate_python(ended.get("log", ended) if isinstance(ended, dict) else ended)
    except ValidationError:
        return []
    return [
        SkippedCall(
            transaction_id=entry.skipped.transaction_id or log.transaction_id,
            step=entry.operation,
            actor=entry.skipped.actor,
            reason=entry.skipped.reason,
            at=entry.skipped.at,
        )
        for entry in log.steps
        if entry.skipped is not None
    ]
