"""The table of the fence as pure functions: what a service does with a request, from what it finds on record.

A service keeps a record for each step of each transaction, under the key `(transaction id, step)`, and writes it in the
local transaction of the effect. An operation and its undo share the step, and so the key.

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

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, TypeAlias

IDEMPOTENCY_CONFLICT = "IDEMPOTENCY_CONFLICT"
STEP_UNDONE = "STEP_UNDONE"
NOTHING_TO_ACT_ON = "NOTHING_TO_ACT_ON"


class OperationState(StrEnum):
    """The fate of a step, as its record says."""

    DONE = "DONE"
    REFUSED = "REFUSED"
    UNDONE = "UNDONE"
    TOMBSTONE = "TOMBSTONE"
    """An undo came first: there was nothing to undo, and the step can no longer be done."""


@dataclass(frozen=True)
class Kept:
    """The record of a step."""

    state: OperationState
    digest: str
    """The hash of the request that was performed or refused; a tombstone without a refusal has that of the undo."""
    answer: str
    """The reply as the service writes it, or `Refuse.text`."""


@dataclass(frozen=True)
class Asked:
    """What a request asks for."""

    operation: str
    step: str
    """The second half of the key: the name of the operation, or of the one that it undoes."""
    digest: str
    is_undo: bool = False


@dataclass(frozen=True)
class ActedOn:
    """The earlier operation that a request acts on."""

    operation: str
    found: Kept | None
    is_same: bool
    """Whether the request asks for what `found` did. It counts only if that is done."""


@dataclass(frozen=True)
class Act:
    """Perform the operation or the undo, and leave a record in `state`, with `digest` and the reply."""

    state: OperationState
    digest: str


@dataclass(frozen=True)
class Tombstone:
    """There is nothing to undo: leave a record in `state`, with `digest` and the reply of the undo."""

    digest: str
    state: ClassVar[OperationState] = OperationState.TOMBSTONE


@dataclass(frozen=True)
class Repeat:
    """Return the kept reply; change nothing."""

    answer: str


@dataclass(frozen=True)
class Refuse:
    """Refuse with a stable code and a message for people; change nothing."""

    code: str
    message: str

    @property
    def text(self) -> str:
        """The refusal as `Kept.answer`. Raises `ValueError` for a code that could not be told from the message."""
        if self.code.split() != [self.code]:
            raise ValueError(f"the code of a refusal is one word, not {self.code!r}")
        return f"{self.code} {self.message}"


Verdict: TypeAlias = Act | Tombstone | Repeat | Refuse

_NOT_DONE: dict[OperationState, str] = {
    OperationState.REFUSED: "was refused",
    OperationState.UNDONE: "was undone",
    OperationState.TOMBSTONE: "was undone",
}


def admit(asked: Asked, found: Kept | None, acted_on: ActedOn | None = None) -> Verdict:
    """Say what the service does with a request that finds `found` under its key: the tables above.

    `acted_on` is that of an operation that declares `acts_on`; it counts only for the first arrival.
    """
    if found is None and acted_on is not None and (refusal := _refusal_to_act_on(acted_on, asked)):
        return refusal
    return _undo(asked, found) if asked.is_undo else _forward(asked, found)


def keeps(code: str) -> bool:
    """Whether the service keeps a refusal of a forward with `code`: a record REFUSED, with `Refuse.text`."""
    return code not in (NOTHING_TO_ACT_ON, IDEMPOTENCY_CONFLICT)


def is_part_of(requested: Mapping[str, Any], replied: Mapping[str, Any]) -> bool:
    """Whether a request of another type than the earlier one's asks for the same: the earlier reply has its fields."""
    return all(name in replied and replied[name] == value for name, value in requested.items())


def _forward(asked: Asked, found: Kept | None) -> Verdict:
    if found is None:
        return Act(OperationState.DONE, asked.digest)
    if found.digest != asked.digest:
        return _conflict(asked)
    if found.state in (OperationState.UNDONE, OperationState.TOMBSTONE):
        return Refuse(STEP_UNDONE, f"{asked.step} was undone: it can no longer be done")
    if found.state is OperationState.REFUSED:
        code, _, message = found.answer.partition(" ")
        return Refuse(code, message)
    return Repeat(found.answer)


def _undo(asked: Asked, found: Kept | None) -> Verdict:
    if found is None:
        return Tombstone(asked.digest)
    if found.state is OperationState.REFUSED:
        return Tombstone(found.digest)
    if found.state is OperationState.DONE:
        return Act(OperationState.UNDONE, found.digest) if found.digest == asked.digest else _conflict(asked)
    return Repeat(found.answer)


def _conflict(asked: Asked) -> Refuse:
    return Refuse(IDEMPOTENCY_CONFLICT, f"{asked.step} came before with another request")


def _refusal_to_act_on(earlier: ActedOn, asked: Asked) -> Refuse | None:
    found = earlier.found
    if found is None or found.state is not OperationState.DONE:
        fate = "has not arrived" if found is None else _NOT_DONE[found.state]
        message = f"{earlier.operation} {fate}: {asked.operation} has nothing to act on"
        return Refuse(NOTHING_TO_ACT_ON, message)
    if not earlier.is_same:
        message = f"{asked.operation} must ask for what {earlier.operation} did, which came with another request"
        return Refuse(IDEMPOTENCY_CONFLICT, message)
    return None
