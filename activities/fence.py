"""The fence of our services: the rules of `temporal_saga.fence.rules`, on their records and with pydantic messages.

Every operation writes an `OperationRecord` into its service's database, in the local transaction of its business
write, under the key `(transaction id, step)`. An operation and its undo share the step, and so the key. The docstring
of the rules has the table of all cases.

When an ended transaction is retired (`activities/retention.py`), one record is left of it, under the step `RETIRED`.
Each operation of the transaction or of a part of it is then refused: RETIRED.
"""

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Generic, TypeVar

from pydantic import ValidationError
from sqlalchemy import MetaData

from activities.records import Record, UnitOfWork, record
from contracts.erasure import without_personal_data
from contracts.errors import Code
from contracts.ids import whole_of
from contracts.message import Reply, Request, identity
from contracts.problems import first_problem
from temporal_saga import Operation
from temporal_saga.fence.rules import (
    Act,
    ActedOn,
    Asked,
    Kept,
    OperationState,
    Refuse,
    Repeat,
    Tombstone,
    Verdict,
    admit,
    is_part_of,
    keeps,
)

ReplyT = TypeVar("ReplyT", bound=Reply)


class RecordState(StrEnum):
    """The fate of a step, as the rules have it, or that of a whole transaction."""

    DONE = OperationState.DONE
    REFUSED = OperationState.REFUSED
    UNDONE = OperationState.UNDONE
    TOMBSTONE = OperationState.TOMBSTONE
    RETIRED = "RETIRED"


RETIRED = "retired"
"""The step of the one record that is left of a retired transaction. No operation has this name."""
ACTED, REPEATED, REFUSED, TOMBSTONE = "acted", "repeated", "refused", "tombstone"
"""The answers of a fence, as they are counted: the operation took effect now, or its first reply was given again, or it
was refused by a rule or by its service, or it was an undo that came before its step."""
ERASED = "erased:"
"""Beginning of a digest that no longer comes from personal data. The digest of the request without such data follows,
or nothing: then every request counts as the same."""


class RefusedDecision(Exception):
    """The decision of a service, or of its fence, to refuse an operation: a stable code, and a message for people. The
    activity tells it to the saga as an `ApplicationError`.

    `code` is a plain string: a refusal that is on record may have the code of a later build.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class UnreadableReply(Exception):
    """The kept reply of a finished operation, or an order, was written by a build that this one cannot read."""


@dataclass(frozen=True)
class Decision(Generic[ReplyT]):
    """The reply of an operation and the rows that it changes; nothing is written if `changed` is empty."""

    reply: ReplyT
    changed: Iterable[Record] = field(default=())


@dataclass(frozen=True)
class OperationRecord(Record):
    """The fate of one step of one transaction."""

    transaction_id: str
    step: str
    state: RecordState
    digest: str
    """Hash of the request; see `digest`."""
    answer: str
    """The reply as JSON, or `CODE message` of a refusal."""
    at: datetime
    """The time of the last change."""


def declare_fence(metadata: MetaData) -> type[OperationRecord]:
    """Declare the fence of one service: the table `operations` in that service's own database."""

    @record(metadata, "operations", key=("transaction_id", "step"))
    @dataclass(frozen=True)
    class ServiceOperationRecord(OperationRecord):
        pass

    return ServiceOperationRecord


def digest(request: Request) -> str:
    """Hash of what identifies a request. Every build computes the same one: a field added later is left out."""
    return hashlib.sha256(identity(request).encode()).hexdigest()


def erased_digest(request: Request) -> str:
    """The digest of a request whose personal data was erased: it also stands for each request that differs in these."""
    return ERASED + digest(without_personal_data(request))


def digest_beside(kept: Kept | None, request: Request) -> str:
    """The digest of a request that is compared with a kept one: in the form of that, if personal data was erased."""
    if kept is None or not kept.digest.startswith(ERASED):
        return digest(request)
    return ERASED if kept.digest == ERASED else erased_digest(request)


def record_of_retired(transaction_id: str) -> tuple[str, str]:
    """The key of the record that is left when the transaction, or the one that this is a part of, is retired."""
    return whole_of(transaction_id), RETIRED


def apply_once(
    uow: UnitOfWork,
    operation_records: type[OperationRecord],
    operation: Operation[Any, ReplyT],
    request: Request,
    decide: Callable[[], Decision[ReplyT]],
) -> ReplyT:
    """Call `decide` if, and only if, the rules say so. Raises `RefusedDecision` and `UnreadableReply`.

    An undo that leaves a tombstone is decided, too: it finds nothing to undo, and its decision has the reply.
    Reads and writes only `uow`; the caller loads and saves it, in one local transaction.
    """
    found = uow.get(operation_records, request.transaction_id, operation.step)
    verdict = _verdict(uow, operation_records, operation, request)
    if isinstance(verdict, Refuse):
        uow.count(operation.name, REFUSED, verdict.code)
        raise RefusedDecision(verdict.code, verdict.message)
    if isinstance(verdict, Repeat):
        uow.count(operation.name, REPEATED)
        return _kept_reply(operation, verdict)
    state = RecordState(verdict.state)
    fresh = operation_records(request.transaction_id, operation.step, state, verdict.digest, "", uow.now)
    return _act(uow, operation, replace(fresh, version=found.version) if found else fresh, decide)


def would_act(
    uow: UnitOfWork, operation_records: type[OperationRecord], operation: Operation[Any, Any], request: Request
) -> bool:
    """Whether `apply_once` would perform the operation, not answer or refuse it from the records."""
    return isinstance(_verdict(uow, operation_records, operation, request), Act | Tombstone)


def _verdict(
    uow: UnitOfWork, operation_records: type[OperationRecord], operation: Operation[Any, Any], request: Request
) -> Verdict:
    retired = uow.get(operation_records, *record_of_retired(request.transaction_id))
    if retired is not None:
        message = (
            f"{retired.transaction_id} has ended and was retired on {retired.at:%Y-%m-%d}: its id cannot be used again"
        )
        return Refuse(Code.RETIRED, message)
    found = uow.get(operation_records, request.transaction_id, operation.step)
    asked_digest = digest_beside(_kept(found), request)
    asked = Asked(operation.name, operation.step, asked_digest, is_undo=operation.undoes is not None)
    acted_on = None
    if found is None and operation.acts_on is not None:
        earlier = uow.get(operation_records, request.transaction_id, operation.acts_on.step)
        acted_on = _acted_on(operation, operation.acts_on, _kept(earlier), asked, request)
    return admit(asked, _kept(found), acted_on)


def _act(
    uow: UnitOfWork, operation: Operation[Any, ReplyT], left: OperationRecord, decide: Callable[[], Decision[ReplyT]]
) -> ReplyT:
    """Perform the operation, and put its changes and the record that it leaves into the unit of work."""
    try:
        decision = decide()
    except RefusedDecision as refusal:
        uow.count(operation.name, REFUSED, refusal.code)
        if left.state is RecordState.DONE and keeps(refusal.code):
            refused = Refuse(refusal.code, refusal.message).text
            uow.put([replace(left, state=RecordState.REFUSED, answer=refused)])
        raise
    uow.count(operation.name, TOMBSTONE if left.state is RecordState.TOMBSTONE else ACTED)
    changed = list(decision.changed)
    uow.put(changed)
    answer = decision.reply.model_dump_json()
    uow.put([replace(left, answer=answer)])
    if changed:
        uow.note_effect(left.transaction_id, operation.name, answer)
    return decision.reply


def _kept(found: OperationRecord | None) -> Kept | None:
    return None if found is None else Kept(OperationState(found.state), found.digest, found.answer)


def _kept_reply(operation: Operation[Any, ReplyT], kept: Repeat) -> ReplyT:
    try:
        reply = operation.reply.model_validate_json(kept.answer)
    except ValidationError as error:
        message = f"{operation.name} was done, but its kept reply cannot be read: {first_problem(error)}"
        raise UnreadableReply(message) from None
    return reply.model_copy(update={"repeated": operation.undoes is None})


def _acted_on(
    operation: Operation[Any, Any], acts_on: Operation[Any, Any], earlier: Kept | None, asked: Asked, request: Request
) -> ActedOn:
    is_same = False
    if earlier is not None and operation.request is acts_on.request:
        is_same = earlier.digest in (asked.digest, digest_beside(earlier, request))
    elif earlier is not None and earlier.state is OperationState.DONE:
        replied = json.loads(earlier.answer) | {"transaction_id": request.transaction_id}
        is_same = is_part_of(json.loads(identity(request)), replied)
    return ActedOn(acts_on.name, earlier, is_same=is_same)
