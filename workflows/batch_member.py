"""One order of a batch: its plan, its log, and why it leaves the batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

from contracts.batch import OutcomeGroup
from contracts.order import Order
from temporal_saga import CallKind, Entry, Failure, Plan, PlannedCall, State, Status, TransactionLog, deadline_exceeded

_NOT_UNDONE = (None, Status.REFUSED)
"""Steps that need no undo: never called, or refused."""


@dataclass(eq=False)
class BatchMember:
    order: Order
    plan: Plan
    state: State = State.RUNNING
    failure: Failure | None = None
    """Why the order is rolled back."""
    interruption: Failure | None = None
    """Why the order is to be rolled back at its next step."""
    decided: bool = False
    """The pivot has been called: the order can only go forward, unless the pivot is refused."""
    past_pivot: bool = False
    """The pivot is done: only finishes are left."""
    detached: bool = False
    """The order has a workflow of its own."""
    log: dict[tuple[str, CallKind], Entry] = field(default_factory=dict)
    """Orders that were in the same call, with the same outcome, share its entry."""

    def stage_name(self, index: int) -> str | None:
        """The calls of a stage of its plan; `None` past the end."""
        return self.plan.stages[index].name if index < len(self.plan.stages) else None

    def must_undo(self, call: PlannedCall) -> bool:
        entry = self.log.get((call.operation.name, CallKind.STEP))
        return call.undo is not None and (entry.status if entry else None) not in _NOT_UNDONE

    def was_refused(self, step: str | None) -> bool:
        entries = (self.log.get((step or "", kind)) for kind in (CallKind.STEP, CallKind.PIVOT))
        return any(entry is not None and entry.status is Status.REFUSED for entry in entries)

    def interrupt(self, cause: Failure) -> None:
        """Have the order rolled back at its next step; the first cause is kept."""
        self.interruption = self.interruption or cause

    def is_interrupted(self, elapsed: timedelta) -> bool:
        """Whether the order is to be rolled back: a client has cancelled it, or its deadline has passed."""
        if elapsed.total_seconds() >= self.order.deadline_s:
            self.interrupt(deadline_exceeded(self.order.deadline_s))
        return self.interruption is not None

    @property
    def has_decision(self) -> bool:
        return self.past_pivot or self.detached or self.state.is_end

    @property
    def decision(self) -> State:
        """The state, but CONFIRMED as soon as the pivot is done."""
        return State.CONFIRMED if self.past_pivot and not self.state.is_end else self.state

    @property
    def transaction_log(self) -> TransactionLog:
        steps = tuple(replace(entry) for entry in self.log.values())
        return TransactionLog(self.order.transaction_id, self.state, self.failure, steps)


def grouped(members: Iterable[BatchMember], state_of: Callable[[BatchMember], State]) -> Sequence[OutcomeGroup]:
    """The orders grouped by outcome."""
    groups: dict[tuple[State, object, object], list[BatchMember]] = {}
    for member in members:
        error = member.failure and (member.failure.code, member.failure.step)
        groups.setdefault((state_of(member), error, tuple(map(id, member.log.values()))), []).append(member)
    return [_group_of(state, group) for (state, _, _), group in groups.items()]


def _group_of(state: State, group: Sequence[BatchMember]) -> OutcomeGroup:
    first = group[0]
    return OutcomeGroup(
        state=state,
        code=first.failure.code if first.failure else None,
        step=first.failure.step if first.failure else None,
        steps=tuple(first.log.values()),
        order_ids=tuple(member.order.order_id for member in group),
        messages=tuple(member.failure.message for member in group if member.failure),
    )
