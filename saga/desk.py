"""The operator's desk of one saga: the calls that do not get through, and what a person decides about them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from saga.journal import Failure, Kind


def transaction_of(request: Any) -> str | None:
    """The transaction that a request says it belongs to, if it says so."""
    found = request.get("transaction_id") if isinstance(request, dict) else getattr(request, "transaction_id", None)
    return None if found is None else str(found)


class DeskRefused(Exception):
    """The decision cannot be taken: nothing of that name is parked, it may not be skipped, or is for another one."""


@dataclass(frozen=True)
class Parked:
    """A call that waits for its next round, or for a person. Times are UTC; `attempts` counts all so far."""

    step: str
    kind: Kind
    since: datetime
    attempts: int
    next_attempt_at: datetime
    error: Failure


@dataclass(frozen=True)
class Retry:
    """Try again now."""


@dataclass(frozen=True)
class Skip:
    """Leave it undone: somebody has seen to it by other means. Said for ever in the log and in the saga's end."""

    actor: str
    reason: str


@dataclass(frozen=True)
class Fix:
    """Try again now, with another request."""

    actor: str
    request: Any


Decision = Retry | Skip | Fix


class Desk:
    """What is parked, by step, and the decisions that its callers wait for."""

    def __init__(self) -> None:
        self._parked: dict[str, Parked] = {}
        self._transactions: dict[str, str | None] = {}
        self._decisions: dict[str, Decision] = {}

    @property
    def parked(self) -> list[Parked]:
        return list(self._parked.values())

    def park(self, parked: Parked, request: Any) -> None:
        self._parked[parked.step] = parked
        self._transactions[parked.step] = transaction_of(request)

    def decided(self, step: str) -> bool:
        return step in self._decisions

    def take(self, step: str) -> Decision | None:
        """The decision about `step`, if one was made; it is off the desk until it is parked again."""
        self._parked.pop(step, None)
        return self._decisions.pop(step, None)

    def check(self, step: str, decision: Decision) -> None:
        """Raises `DeskRefused`."""
        parked = self._parked.get(step)
        if parked is None or self.decided(step):
            known = ", ".join(self._parked) or "nothing"
            raise DeskRefused(f"{step} is not parked; parked is {known}")
        if isinstance(decision, Skip) and parked.kind is Kind.FORWARD:
            raise DeskRefused(f"{step} decides the saga: it can be retried or fixed, not skipped")
        ours = self._transactions[step]
        if isinstance(decision, Fix) and (
            not isinstance(decision.request, dict) or transaction_of(decision.request) != ours
        ):
            raise DeskRefused(f"the request must be one of transaction {ours}")  # under another it would undo nothing

    def decide(self, step: str, decision: Decision) -> None:
        """Raises `DeskRefused`."""
        self.check(step, decision)
        self._decisions[step] = decision
