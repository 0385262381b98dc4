"""The fence: the reason why an operation takes effect at most once, and never after its undo.

"Fence" is this project's word for a table of idempotency keys that is also a sub-transaction barrier, as in DTM
(dtm-labs, `client/dtmcli/barrier.go`). It is not a fencing token: nothing here compares numbers that grow.

Every operation writes an `OperationRecord` into its service's database, in the local transaction of its business
write, under the key `(transaction id, step)`. An operation and its undo share the step, and so the key.

| a request arrives | and finds | then the service |
|---|---|---|
| forward | nothing | performs it and keeps the reply |
| forward | the same forward with the same request | returns the kept reply |
| forward | a record of another request | refuses: IDEMPOTENCY_CONFLICT |
| forward | its own refusal | refuses again with the same words: the saga has acted on the refusal |
| forward | its own undo, or its tombstone | refuses: STEP_UNDONE. A timed-out attempt that arrives late ends here |
| undo | the forward with the same request | undoes it |
| undo | the forward with another request | refuses: IDEMPOTENCY_CONFLICT |
| undo | nothing, or a refusal | leaves a tombstone; there is nothing to undo (DTM: null compensation) |
| undo | an undo, or its tombstone | returns the kept reply |

An operation that acts on what an earlier one made (`Operation.acts_on`: a capture acts on an authorization) must ask
for the same. Before its first effect:

| the earlier operation | then the service |
|---|---|
| is done, with the same request | performs it |
| is done, with a request that differs in any field | refuses: IDEMPOTENCY_CONFLICT |
| has not arrived, was refused or was undone | refuses: NOTHING_TO_ACT_ON |

DTM's barrier closes three hazards: a duplicate, an undo before its forward, a forward after its undo. The kept refusal
closes a fourth: attempt one hangs, attempt two is refused, the saga moves on, attempt one wakes up. Two refusals are
not kept: NOTHING_TO_ACT_ON, because the earlier operation may still arrive, and IDEMPOTENCY_CONFLICT, because it would
keep the right request out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Generic, TypeVar

from pydantic import ValidationError
from sqlalchemy import MetaData

from activities.records import Record, UnitOfWork, record
from contracts.errors import Code
from contracts.message import Reply, Request, identity
from contracts.problems import first_problem
from temporal_saga import Operation

ReplyT = TypeVar("ReplyT", bound=Reply)


class OperationState(StrEnum):
    DONE = "DONE"
    REFUSED = "REFUSED"
    UNDONE = "UNDONE"
    TOMBSTONE = "TOMBSTONE"


class Refusal(Exception):
    """The refusal of an operation by its service: a stable code, and a message for people.

    `code` is a plain string: a refusal that is on record may have the code of a later build.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class UnreadableReply(Exception):
    """The kept reply of a finished operation was written by a build that this one cannot read."""


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
    state: OperationState
    digest: str
    """Hash of the request; see `digest`."""
    answer: str
    """The reply as JSON, or `CODE message` of a refusal."""


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


def apply_once(
    uow: UnitOfWork,
    operation_records: type[OperationRecord],
    operation: Operation[Any, ReplyT],
    request: Request,
    decide: Callable[[], Decision[ReplyT]],
) -> ReplyT:
    """Call `decide` if, and only if, the table above says so. Raises `Refusal` and `UnreadableReply`.

    Reads and writes only `uow`; the caller loads and saves it, in one local transaction.
    """
    found = uow.get(operation_records, request.transaction_id, operation.step)
    fresh = operation_records(request.transaction_id, operation.step, OperationState.DONE, digest(request), "")
    if found is None and operation.acts_on is not None:
        earlier = uow.get(operation_records, request.transaction_id, operation.acts_on.step)
        _require_same_as_acted_on(earlier, fresh, operation, request)
    delivery = _Delivery(uow, operation, found, fresh, decide)
    return delivery.forward() if operation.undoes is None else delivery.undo()


class _WouldAct(Exception):
    """The fence has called the decision."""


def would_act(
    uow: UnitOfWork, operation_records: type[OperationRecord], operation: Operation[Any, Any], request: Request
) -> bool:
    """Whether `apply_once` would perform the operation, not answer or refuse it from the records. Writes nothing."""

    def decide() -> Decision[Any]:
        raise _WouldAct

    try:
        apply_once(uow, operation_records, operation, request, decide)
    except _WouldAct:
        return True
    except (Refusal, UnreadableReply):
        pass
    return False


@dataclass(frozen=True)
class _Delivery(Generic[ReplyT]):
    """One arrival of a request at the fence: a row of the table above is chosen by `found`, the record of its key."""

    uow: UnitOfWork
    operation: Operation[Any, ReplyT]
    found: OperationRecord | None
    fresh: OperationRecord
    """The record that this request leaves if it is the first."""
    decide: Callable[[], Decision[ReplyT]]

    def forward(self) -> ReplyT:
        found = self.found
        if found is None:
            return self._first_forward()
        self._require_same_request(found)
        if found.state in (OperationState.UNDONE, OperationState.TOMBSTONE):
            raise Refusal(Code.STEP_UNDONE, f"{self.operation.step} was undone: it can no longer be done")
        if found.state is OperationState.REFUSED:
            code, _, message = found.answer.partition(" ")
            raise Refusal(code, message)
        return self._kept_reply(found)

    def _first_forward(self) -> ReplyT:
        try:
            return self.act(self.fresh, OperationState.DONE)
        except Refusal as refusal:
            if refusal.code != Code.NOTHING_TO_ACT_ON:  # the earlier operation may still arrive
                answer = f"{refusal.code} {refusal.message}"
                self.uow.put([replace(self.fresh, state=OperationState.REFUSED, answer=answer)])
            raise

    def undo(self) -> ReplyT:
        found = self.found
        if found is None or found.state is OperationState.REFUSED:
            return self.act(found or self.fresh, OperationState.TOMBSTONE)
        if found.state is OperationState.DONE:
            self._require_same_request(found)
            return self.act(found, OperationState.UNDONE)
        return self._kept_reply(found)

    def act(self, operation_record: OperationRecord, state: OperationState) -> ReplyT:
        """Perform the operation, and put its changes and its record into the unit of work."""
        decision = self.decide()
        changed = list(decision.changed)
        self.uow.put(changed)
        self.uow.put([replace(operation_record, state=state, answer=decision.reply.model_dump_json())])
        if changed:
            self.uow.note_effect(operation_record.transaction_id, self.operation.name)
        return decision.reply

    def _kept_reply(self, found: OperationRecord) -> ReplyT:
        try:
            return self.operation.reply.model_validate_json(found.answer)
        except ValidationError as error:
            message = f"{self.operation.name} was done, but its kept reply cannot be read: {first_problem(error)}"
            raise UnreadableReply(message) from None

    def _require_same_request(self, found: OperationRecord) -> None:
        if found.digest != self.fresh.digest:
            raise Refusal(Code.IDEMPOTENCY_CONFLICT, f"{found.step} came before with another request")


_NOT_DONE: dict[OperationState, str] = {
    OperationState.REFUSED: "was refused",
    OperationState.UNDONE: "was undone",
    OperationState.TOMBSTONE: "was undone",
}


def _require_same_as_acted_on(
    earlier: OperationRecord | None, fresh: OperationRecord, operation: Operation[Any, Any], request: Request
) -> None:
    acts_on = operation.acts_on
    assert acts_on is not None  # noqa: S101 — the caller checks it
    if earlier is None or earlier.state is not OperationState.DONE:
        fate = "has not arrived" if earlier is None else _NOT_DONE[earlier.state]
        raise Refusal(Code.NOTHING_TO_ACT_ON, f"{acts_on.name} {fate}: {operation.name} has nothing to act on")
    same_type = operation.request is acts_on.request
    if not (fresh.digest == earlier.digest if same_type else _is_in_reply(request, earlier)):
        message = f"{operation.name} must ask for what {acts_on.name} did, which came with another request"
        raise Refusal(Code.IDEMPOTENCY_CONFLICT, message)


def _is_in_reply(request: Request, earlier: OperationRecord) -> bool:
    """Whether the earlier operation's reply has every field of a request of another type, with the same value."""
    requested: dict[str, Any] = json.loads(identity(request))
    replied: dict[str, Any] = json.loads(earlier.answer) | {"transaction_id": request.transaction_id}
    return all(name in replied and replied[name] == value for name, value in requested.items())
