"""One order among those that a batch carries: its plan, its log, and why it leaves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from contracts.batch import OutcomeGroup
from contracts.errors import Code
from contracts.order import Order
from saga import CallKind, Entry, Failure, Plan, PlannedCall, State, Status, TransactionLog
from workflows.order import Requests

_NOT_UNDONE = (None, Status.REFUSED)
"""Forward calls that need no undo: never sent, or refused."""


@dataclass(eq=False)
class BatchMember:
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
    detached: bool = False
    log: dict[tuple[str, CallKind], Entry] = field(default_factory=dict)

    def stage_name(self, at: int) -> str | None:
        """What is to be done at place `at` of its plan; `None` past the end."""
        return self.plan.stages[at].name if at < len(self.plan.stages) else None

    def request(self, call: PlannedCall) -> Any:
        return self.requests.to(call.operation)

    def status(self, call: PlannedCall, kind: CallKind) -> Status | None:
        entry = self.log.get((call.operation.name, kind))
        return entry.status if entry else None

    def to_undo(self, call: PlannedCall) -> bool:
        return call.undo is not None and self.status(call, CallKind.STEP) not in _NOT_UNDONE

    def was_refused(self, step: str | None) -> bool:
        entries = (self.log.get((step or "", kind)) for kind in (CallKind.STEP, CallKind.PIVOT))
        return any(entry is not None and entry.status is Status.REFUSED for entry in entries)

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


def grouped(orders: Iterable[BatchMember]) -> Sequence[OutcomeGroup]:
    """The orders grouped by the way they went."""
    groups: dict[object, list[BatchMember]] = {}
    for each in orders:
        why = each.failure and (each.failure.code, each.failure.step)
        groups.setdefault((each.state, why, tuple(map(id, each.log.values()))), []).append(each)
    return [_group_of(group) for group in groups.values()]


def _group_of(group: Sequence[BatchMember]) -> OutcomeGroup:
    first = group[0]
    return OutcomeGroup(
        state=first.state,
        code=first.failure.code if first.failure else None,
        step=first.failure.step if first.failure else None,
        steps=tuple(first.log.values()),
        order_ids=tuple(each.order.order_id for each in group),
        messages=tuple(each.failure.message for each in group if each.failure),
    )
