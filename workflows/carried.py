"""One order among those that a batch carries: its plan, its log, and why it leaves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from contracts.batch import SameWay
from contracts.errors import Code
from contracts.order import Order
from saga import Entry, Failure, Kind, Plan, PlannedCall, State, Status, TransactionLog
from workflows.order import Requests

_NOT_UNDONE = (None, Status.REFUSED)
"""Forward calls that need no undo: never sent, or refused."""


@dataclass(eq=False)
class Carried:
    """`log` shares its entries with the orders that were in the same call and heard the same."""

    order: Order
    requests: Requests
    plan: Plan
    """Shared with all orders of its kind: `request` says what a call of it means for this one."""
    state: State = State.RUNNING
    failure: Failure | None = None
    """Why it is rolled back."""
    interruption: Failure | None = None
    """Why it is to be rolled back at its next step."""
    decided: bool = False
    """Its confirmation has been asked for: from here on only forward, unless it is refused."""
    handed_over: bool = False
    log: dict[tuple[str, Kind], Entry] = field(default_factory=dict)

    def stage_name(self, at: int) -> str | None:
        """What is to be done at place `at` of its plan; `None` past the end."""
        return self.plan.stages[at].name if at < len(self.plan.stages) else None

    def request(self, call: PlannedCall) -> Any:
        return getattr(self.requests, call.request)

    def status(self, call: PlannedCall, kind: Kind) -> Status | None:
        entry = self.log.get((call.operation.name, kind))
        return entry.status if entry else None

    def to_undo(self, call: PlannedCall) -> bool:
        return call.undo is not None and self.status(call, Kind.FORWARD) not in _NOT_UNDONE

    def was_refused(self, step: str | None) -> bool:
        entry = self.log.get((step or "", Kind.FORWARD))
        return entry is not None and entry.status is Status.REFUSED

    def interrupted(self, elapsed: timedelta) -> bool:
        """Whether it is to leave: somebody has asked for it, or its deadline is over."""
        if self.interruption is None and elapsed.total_seconds() >= self.order.deadline_s:
            message = f"not confirmed within {self.order.deadline_s:g} s"
            self.interruption = Failure(Code.DEADLINE_EXCEEDED, message)
        return self.interruption is not None

    @property
    def transaction_log(self) -> TransactionLog:
        steps = tuple(replace(entry) for entry in self.log.values())
        return TransactionLog(self.order.transaction_id, self.state, self.failure, steps)


def same_ways(orders: Iterable[Carried]) -> Sequence[SameWay]:
    """The orders grouped by the way they went."""
    ways: dict[object, list[Carried]] = {}
    for each in orders:
        why = each.failure and (each.failure.code, each.failure.step)
        ways.setdefault((each.state, why, tuple(map(id, each.log.values()))), []).append(each)
    return [_same_way(group) for group in ways.values()]


def _same_way(group: Sequence[Carried]) -> SameWay:
    first = group[0]
    return SameWay(
        state=first.state,
        code=first.failure.code if first.failure else None,
        step=first.failure.step if first.failure else None,
        steps=tuple(first.log.values()),
        order_ids=tuple(each.order.order_id for each in group),
        messages=tuple(each.failure.message for each in group if each.failure),
    )
