"""The faults that are put into a saga, and a case: one fault in one call."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Fault(Enum):
    """What happens to one call. The value is its name in a case's name."""

    NONE = "without a fault"
    REFUSED = "refused"
    ERROR = "error"
    REPLY_LOST = "reply lost"
    LATE = "late attempt"
    TWICE = "delivered twice"
    CANCELLED_BEFORE = "cancelled before its effect"
    CANCELLED_AFTER = "cancelled after its effect"
    CANCELLED_TWICE = "cancelled twice"
    CANCELLED_ROLLBACK = "refused, cancelled during the rollback"
    DEADLINE = "deadline"
    WORKER_REPLACED = "worker replaced"
    UNDO_FAILS = "fails for a while"
    UNDO_TWICE = "undo delivered twice"
    UNDO_REPLY_LOST = "undo reply lost"

    @property
    def is_of_an_undo(self) -> bool:
        return self in (Fault.UNDO_FAILS, Fault.UNDO_TWICE, Fault.UNDO_REPLY_LOST)

    @property
    def words(self) -> str:
        return self.value.removeprefix("undo ")


@dataclass(frozen=True)
class Target:
    """One call of a saga. `call` is its activity id: the same in each run, up to the fault. `label` names it."""

    activity: str
    call: str
    label: str


@dataclass(frozen=True)
class Case:
    """One fault in one call. A fault of an undo needs a `trigger`: the case whose rollback runs the undo."""

    fault: Fault
    target: Target | None = None
    trigger: Case | None = None

    @property
    def name(self) -> str:
        return self.fault.value if self.target is None else f"{self.target.label} {self.fault.words}"

    def __str__(self) -> str:
        return self.name


FAULTLESS = Case(Fault.NONE)
FAULTS_OF_A_CALL = tuple(each for each in Fault if each is not Fault.NONE and not each.is_of_an_undo)
FAULTS_OF_AN_UNDO = tuple(each for each in Fault if each.is_of_an_undo)
