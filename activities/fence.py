"""The fence: why every operation of every service takes effect at most once, and never after it was undone.

Each operation leaves a `Passage` in its service's database, in the local transaction of its business write, under the
key `(transaction id, step)`; an operation and its undo share the step.

| arrives | finds | does |
|---|---|---|
| forward | nothing | acts, keeps its reply |
| forward | the same forward, same request | acts not, returns the kept reply |
| forward | anything of another request | refuses: IDEMPOTENCY_CONFLICT |
| forward | its own refusal | refuses again, with the same words: no late attempt can act after a "no" was heard |
| forward | its own undo, or its tombstone | refuses: STEP_UNDONE. A timed-out attempt that wakes up late lands here |
| undo | the forward, same request | undoes it |
| undo | the forward, other request | refuses: IDEMPOTENCY_CONFLICT |
| undo | nothing, or a refusal | leaves a tombstone; there is nothing to undo ("null compensation") |
| undo | an undo, or its tombstone | nothing |

An operation that acts on what an earlier one made (`Operation.acts_on`: a capture on an authorization) means the same
who, how much and of what. Before it acts for the first time:

| the earlier one | then |
|---|---|
| is done, with the same request | acts |
| is done, with a request that differs in any field | refuses: IDEMPOTENCY_CONFLICT |
| has not come, was refused or undone | refuses: NOTHING_TO_ACT_ON |

The three hazards (a duplicate, an undo before its forward, a forward after its undo) are those of DTM's sub-transaction
barrier (dtm-labs, `client/dtmcli/barrier.go`); the kept refusal closes a fourth: attempt one hangs, attempt two is
refused, the saga moves on, attempt one wakes up. NOTHING_TO_ACT_ON and IDEMPOTENCY_CONFLICT alone are not kept: the one
is about what is not there yet, the other would keep the right request out.
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

from activities.records import Record, Rows, record
from contracts.errors import Code
from contracts.message import Reply, Request, identity
from contracts.problems import first_problem
from saga import Operation

Answer = TypeVar("Answer", bound=Reply)


class PassageState(StrEnum):
    DONE = "DONE"
    REFUSED = "REFUSED"
    UNDONE = "UNDONE"
    TOMBSTONE = "TOMBSTONE"


class Refusal(Exception):
    """A service says no: a stable code, and words for a person. A kept no may have the code of a later build."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True)
class Decision(Generic[Answer]):
    """What an operation answers, and the rows it changes. Nothing is changed if `changed` is empty."""

    reply: Answer
    changed: Iterable[Record] = field(default=())


@dataclass(frozen=True)
class Passage(Record):
    """What became of one step: `answer` is the reply as JSON, or `CODE message` of a refusal."""

    transaction_id: str
    step: str
    state: PassageState
    digest: str
    answer: str


def declare_fence(metadata: MetaData) -> type[Passage]:
    """The fence of one service: its own `operations` table in its own database."""

    @record(metadata, "operations", key=("transaction_id", "step"))
    @dataclass(frozen=True)
    class ServicePassage(Passage):
        pass

    return ServicePassage


class UnreadableAnswer(Exception):
    """An operation was done, and its kept answer is of a build that writes what this one cannot read."""


def digest(request: Request) -> str:
    """The same in every build: a field that a later one adds does not make a request another one."""
    return hashlib.sha256(identity(request).encode()).hexdigest()


def admit(
    rows: Rows,
    passages: type[Passage],
    operation: Operation[Any, Answer],
    request: Request,
    decide: Callable[[], Decision[Answer]],
) -> Answer:
    """Let `request` through to `decide` if, and only if, the table above says so. Raises `Refusal`.

    Reads and writes only `rows`; the caller loads them before and saves them after, in one local transaction.
    """
    found = rows.get(passages, request.transaction_id, operation.step)
    fresh = passages(request.transaction_id, operation.step, PassageState.DONE, digest(request), "")
    if found is None and operation.acts_on is not None:
        earlier = rows.get(passages, request.transaction_id, operation.acts_on.step)
        _same_as_acted_on(earlier, fresh, operation, request)
    through = _undo if operation.undoes is not None else _forward
    return through(rows, found, fresh, operation, decide)


def _forward(
    rows: Rows,
    found: Passage | None,
    fresh: Passage,
    operation: Operation[Any, Answer],
    decide: Callable[[], Decision[Answer]],
) -> Answer:
    if found is None:
        try:
            return _act(rows, fresh, PassageState.DONE, operation, decide)
        except Refusal as refusal:
            if refusal.code == Code.NOTHING_TO_ACT_ON:
                raise  # about what has not come yet, and so not for ever
            rows.put([replace(fresh, state=PassageState.REFUSED, answer=f"{refusal.code} {refusal.message}")])
            raise
    _same_request(found, fresh)
    if found.state in (PassageState.UNDONE, PassageState.TOMBSTONE):
        raise Refusal(Code.STEP_UNDONE, f"{operation.step} was undone: it can no longer be done")
    if found.state is PassageState.REFUSED:
        code, _, message = found.answer.partition(" ")
        raise Refusal(code, message)
    return _kept(found, operation)


def _undo(
    rows: Rows,
    found: Passage | None,
    fresh: Passage,
    operation: Operation[Any, Answer],
    decide: Callable[[], Decision[Answer]],
) -> Answer:
    if found is None or found.state is PassageState.REFUSED:
        return _act(rows, found or fresh, PassageState.TOMBSTONE, operation, decide)
    if found.state is PassageState.DONE:
        _same_request(found, fresh)
        return _act(rows, found, PassageState.UNDONE, operation, decide)
    return _kept(found, operation)


def _act(
    rows: Rows,
    passage: Passage,
    state: PassageState,
    operation: Operation[Any, Answer],
    decide: Callable[[], Decision[Answer]],
) -> Answer:
    decision = decide()
    changed = list(decision.changed)
    rows.put(changed)
    rows.put([replace(passage, state=state, answer=decision.reply.model_dump_json())])
    if changed:
        rows.note_effect(passage.transaction_id, operation.name)
    return decision.reply


def _kept(found: Passage, operation: Operation[Any, Answer]) -> Answer:
    """The answer as it was given first, perhaps by another build."""
    try:
        return operation.reply.model_validate_json(found.answer)
    except ValidationError as error:
        message = f"{operation.name} was done, but its kept answer cannot be read: {first_problem(error)}"
        raise UnreadableAnswer(message) from None


def _same_request(found: Passage, fresh: Passage) -> None:
    if found.digest != fresh.digest:
        raise Refusal(Code.IDEMPOTENCY_CONFLICT, f"{found.step} came before with another request")


_NOT_DONE: dict[PassageState, str] = {
    PassageState.REFUSED: "was refused",
    PassageState.UNDONE: "was undone",
    PassageState.TOMBSTONE: "was undone",
}


def _same_as_acted_on(
    earlier: Passage | None, fresh: Passage, operation: Operation[Any, Any], request: Request
) -> None:
    acts_on = operation.acts_on
    assert acts_on is not None  # noqa: S101 — asked only of an operation that acts on another
    if earlier is None or earlier.state is not PassageState.DONE:
        became = "has not come" if earlier is None else _NOT_DONE[earlier.state]
        raise Refusal(Code.NOTHING_TO_ACT_ON, f"{acts_on.name} {became}: {operation.name} has nothing to act on")
    same_type = operation.request is acts_on.request
    if not (fresh.digest == earlier.digest if same_type else _was_answered(request, earlier)):
        told = f"{operation.name} must ask for what {acts_on.name} did, which came with another request"
        raise Refusal(Code.IDEMPOTENCY_CONFLICT, told)


def _was_answered(request: Request, earlier: Passage) -> bool:
    """Whether every field of a request of another type is as the earlier operation answered it."""
    asked: dict[str, Any] = json.loads(identity(request))
    answered: dict[str, Any] = json.loads(earlier.answer) | {"transaction_id": request.transaction_id}
    return all(name in answered and answered[name] == value for name, value in asked.items())
