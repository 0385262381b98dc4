"""One operation for many orders: a set-based call, and what each of them hears."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from temporalio import workflow

from contracts.batch_operation import BatchReply, BatchRequest, batched
from saga import CallKind, Entry, Failure, Operation, Policy, Status
from saga.calls import attempt
from saga.outcome import UNREADABLE_REPLY, Done, Refused, Unknown
from workflows.batch_member import BatchMember


async def call_many(
    operation: Operation[Any, Any], kind: CallKind, asked: Sequence[tuple[BatchMember, Any]], policy: Policy
) -> dict[BatchMember, Failure]:
    """Ask for all of `asked` at once; what went wrong, for those for whom something did. The logs have it too.

    A list that gets no answer, or is refused as a whole, says nothing about any single order: all are *unknown*.
    """
    entry = Entry(operation.name, operation.service, kind, Status.RUNNING, 0, workflow.now())
    key = operation.name, kind
    for member, _ in asked:
        member.log[key] = entry
    _log_line(entry, len(asked), refused=0)
    requests = BatchRequest[Any].model_construct(
        requests=tuple(request for _, request in asked)
    )  # each has been checked
    ended = _about_all(await attempt(batched(operation), requests, policy), len(asked))
    entry.attempts, entry.ended_at = ended.attempts, workflow.now()
    if not isinstance(ended, Done):
        entry.status, entry.error_code = Status.UNKNOWN, ended.code
        _log_line(entry, len(asked), refused=0)
        return {member: Failure(ended.code, ended.message, entry.step) for member, _ in asked}
    entry.status = Status.DONE
    failed = {asked[no.index][0]: Failure(no.code, no.message, entry.step) for no in ended.reply.refused}
    refused: dict[str, Entry] = {}
    for member, failure in failed.items():
        told = replace(entry, status=Status.REFUSED, error_code=failure.code)
        member.log[key] = refused.setdefault(failure.code, told)
    _log_line(entry, len(asked), refused=len(failed))
    return failed


def _about_all(ended: Done[BatchReply] | Refused | Unknown, count: int) -> Done[BatchReply] | Refused | Unknown:
    """An answer that is about other requests than ours says nothing about any of them."""
    if isinstance(ended, Done) and (ended.reply.count != count or any(no.index >= count for no in ended.reply.refused)):
        return Unknown(UNREADABLE_REPLY, f"{ended.reply.count} answers to {count} requests", ended.attempts)
    return ended


def _log_line(entry: Entry, orders: int, refused: int) -> None:
    """A line for each call, not for each order in it: that would cost more than the call."""
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
