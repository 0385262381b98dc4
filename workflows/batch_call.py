"""One call of one operation for many orders, and its outcome for each of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from temporalio import workflow

from contracts.batch_operation import BatchReply, BatchRequest, batched
from temporal_saga import CallKind, Entry, Failure, Operation, Policy, Status
from temporal_saga.calls import attempt, summary_of
from temporal_saga.outcome import UNREADABLE_REPLY, Done, Outcome, Unknown
from workflows.batch_member import BatchMember


async def call_many(
    operation: Operation[Any, Any], kind: CallKind, calls: Sequence[tuple[BatchMember, Any]], policy: Policy
) -> dict[BatchMember, Failure]:
    """Make one call with the requests of all orders in `calls`. Return the failures; the members' logs have all.

    If the call as a whole has no answer, or is refused, the outcome is *unknown* for every order.
    """
    entry = Entry(operation.name, operation.service, kind, Status.RUNNING, 0, workflow.now())
    key = operation.name, kind
    for member, _ in calls:
        member.log[key] = entry
    _log_line(entry, len(calls), refused=0)
    requests = BatchRequest[Any].model_construct(requests=tuple(request for _, request in calls))  # all are validated
    count = "1 order" if len(calls) == 1 else f"{len(calls)} orders"
    summary = ", ".join(filter(None, [summary_of(operation, kind), count]))
    ended = _matching(await attempt(batched(operation), requests, policy, summary), len(calls))
    entry.attempts, entry.ended_at = ended.attempts, workflow.now()
    if not isinstance(ended, Done):
        entry.status, entry.error_code = Status.UNKNOWN, ended.code
        _log_line(entry, len(calls), refused=0)
        return {member: Failure(ended.code, ended.message, entry.step) for member, _ in calls}
    entry.status = Status.DONE
    failed = {calls[no.index][0]: Failure(no.code, no.message, entry.step) for no in ended.reply.refused}
    refused: dict[str, Entry] = {}
    for member, failure in failed.items():
        own = replace(entry, status=Status.REFUSED, error_code=failure.code)
        member.log[key] = refused.setdefault(failure.code, own)
    _log_line(entry, len(calls), refused=len(failed))
    return failed


def _matching(ended: Outcome[BatchReply], count: int) -> Outcome[BatchReply]:
    """The outcome, if it is about `count` requests; an answer about any other number proves nothing about an order."""
    if isinstance(ended, Done) and (ended.reply.count != count or any(no.index >= count for no in ended.reply.refused)):
        return Unknown(UNREADABLE_REPLY, f"{ended.reply.count} answers to {count} requests", ended.attempts)
    return ended


def _log_line(entry: Entry, orders: int, refused: int) -> None:
    """Log one line for the call, not one for each order in it: these would cost more than the call."""
    log = workflow.logger.warning if entry.status is Status.UNKNOWN else workflow.logger.info
    fields: dict[str, object] = {
        "transaction_id": workflow.info().workflow_id,
        "step": entry.step,
        "service": entry.service,
        "kind": str(entry.kind),
        "attempt": entry.attempts,
        "status": str(entry.status),
        "orders": orders,
        "refused": refused,
    }
    log("step", extra=fields | ({"error_code": entry.error_code} if entry.error_code else {}))
