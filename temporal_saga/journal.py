"""The transaction log of one saga: the list behind the `transaction_log` query, and all that is published from it.

Log lines and search attributes are written here from the entries, so that they cannot disagree.
The log is kept in workflow memory and needs no table: Temporal rebuilds it from the history after a crash.
"""

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from itertools import chain, count
from typing import Any, Protocol, Self

from temporalio import workflow
from temporalio.common import SearchAttributeUpdate

from temporal_saga.outcome import Done, Outcome, Refused
from temporal_saga.visibility import SAGA_ERROR_CODE, SAGA_PARKED_SINCE, SAGA_STATE, upsert

_STATES_METRIC = "saga_states"
"""Counts how often sagas entered a state, by `state` and `error_code`. An alert should watch PARKED."""
_ROUNDS_METRIC = "saga_failed_rounds_total"
"""Counts the rounds of undos, finishes and pivots that failed, by `service`, `kind` and `error_code`."""
_SAGA = "saga"
"""The service of what no service does."""


class State(StrEnum):
    """The state of a saga. The last four are ends; PARKED is not: a parked saga goes on trying.

    WITH_SKIPS: an operator has left a call undone, so the services do not prove the end.
    """

    RUNNING = "RUNNING"
    COMPENSATING = "COMPENSATING"
    PARKED = "PARKED"
    CONFIRMED = "CONFIRMED"
    CONFIRMED_WITH_SKIPS = "CONFIRMED_WITH_SKIPS"
    ROLLED_BACK = "ROLLED_BACK"
    ROLLED_BACK_WITH_SKIPS = "ROLLED_BACK_WITH_SKIPS"

    @property
    def is_end(self) -> bool:
        return self in (State.CONFIRMED, State.CONFIRMED_WITH_SKIPS, State.ROLLED_BACK, State.ROLLED_BACK_WITH_SKIPS)

    @property
    def is_confirmed(self) -> bool:
        """Whether the saga ended past its pivot."""
        return self in (State.CONFIRMED, State.CONFIRMED_WITH_SKIPS)

    @property
    def with_skips(self) -> Self:
        """The same end of a saga of which an operator has left a call undone."""
        ends = {State.CONFIRMED: State.CONFIRMED_WITH_SKIPS, State.ROLLED_BACK: State.ROLLED_BACK_WITH_SKIPS}
        return ends.get(self, self)


class CallKind(StrEnum):
    """What an entry is in its saga. The kernel and the plan have a method of the same name for each kind of call.

    STEP: forward, and undone if the saga fails. PIVOT: its answer decides whether the saga goes forward or back (a
    pivot transaction). FINISH: promised by the pivot and repeated until it is done (a retriable transaction).
    BEST_EFFORT: tried a few times, and never changes how the saga ends. UNDO: a compensation. WAIT: no call, but a wait
    before the pivot for an event from outside (`Saga.wait_for`).
    """

    STEP = "step"
    PIVOT = "pivot"
    FINISH = "finish"
    BEST_EFFORT = "best_effort"
    UNDO = "undo"
    WAIT = "wait"

    @property
    def is_skippable(self) -> bool:
        """Whether an operator may leave such a call undone: nothing in the saga depends on its answer."""
        return self in (CallKind.FINISH, CallKind.UNDO)


class Status(StrEnum):
    """The status of a call. RUNNING, WAITING and PARKED calls are under way; UNKNOWN ones may have taken effect.

    WAITING: the service has answered STILL_WORKING, and is asked again at the entry's `next_question_at`.
    """

    RUNNING = "RUNNING"
    WAITING = "WAITING"
    DONE = "DONE"
    REFUSED = "REFUSED"
    UNKNOWN = "UNKNOWN"
    PARKED = "PARKED"
    SKIPPED = "SKIPPED"


@dataclass(frozen=True)
class Skipped:
    """An operator's decision to leave a call undone. `transaction_id` is that of the request."""

    actor: str
    reason: str
    at: datetime
    transaction_id: str | None = None


@dataclass(frozen=True)
class MoveDeadline:
    """The order to move a saga's deadline. `until` needs a time zone."""

    actor: str
    reason: str
    until: datetime


@dataclass(frozen=True)
class MovedDeadline:
    """A new deadline of a saga that ran: who moved it, why, until when and at what time. Times are UTC."""

    actor: str
    reason: str
    until: datetime
    at: datetime


def operation_of(step: str) -> str:
    """The name of the operation, or of the wait, of a step in the log: `payment.cancel` of `payment.cancel#2`."""
    return step.partition("#")[0]


def unique_step(operation: str, name: str | None, taken: Collection[str]) -> str:
    """The step of a call in the log: `payment.cancel`, then `payment.cancel#NAME` or, if that is taken, a number."""
    named = [f"{operation}#{name}"] if name else []
    numbered = (f"{operation}#{number}" for number in count(2))
    return next(step for step in chain([operation], named, numbered) if step not in taken)


@dataclass
class Entry:
    """One call of one operation, or one wait. `attempts` counts those made so far; times are UTC.

    `step` is the name of the operation or of the wait, made unique within the saga: it identifies a parked call on the
    desk. An answer STILL_WORKING is no attempt.
    """

    step: str
    service: str
    kind: CallKind
    status: Status
    attempts: int
    started_at: datetime
    ended_at: datetime | None = None
    error_code: str | None = None
    parked_since: datetime | None = None
    note: str | None = None
    """What an operator did about the call, who it was, and why; or the savepoint to which an undo leads back."""
    name: str | None = None
    """The workflow's own name for this step, if it has one."""
    skipped: Skipped | None = None
    next_question_at: datetime | None = None

    @property
    def operation(self) -> str:
        """The name of the operation or of the wait."""
        return operation_of(self.step)


@dataclass(frozen=True)
class Failure:
    """Why a saga is rolled back: a stable code, a message for people, and the step, if one step is the cause."""

    code: str
    message: str
    step: str | None = None


@dataclass(frozen=True)
class TransactionLog:
    """All calls of a saga in the order in which they began, its state, and why it was rolled back, if it was."""

    transaction_id: str
    state: State
    error: Failure | None = None
    steps: tuple[Entry, ...] = ()
    moved_deadlines: tuple[MovedDeadline, ...] = ()

    @property
    def as_decided(self) -> Self:
        """The log of a saga whose pivot is done: CONFIRMED, though its finishes may be open."""
        return self if self.state.is_end else replace(self, state=State.CONFIRMED)


def count_states(state: State, error_code: str | None, sagas: int = 1) -> None:
    """Count in the metrics that `sagas` have entered `state`."""
    counter = workflow.metric_meter().create_counter(_STATES_METRIC)
    counter.add(sagas, {"state": str(state), "error_code": error_code or ""})


def _count_failed_round(entry: Entry) -> None:
    counter = workflow.metric_meter().create_counter(_ROUNDS_METRIC)
    counter.add(1, {"service": entry.service, "kind": str(entry.kind), "error_code": entry.error_code or ""})


class Listener(Protocol):
    """Hears of each change of a saga's state: the state before, and the log with the state now."""

    def changed(self, before: State, log: TransactionLog) -> None: ...


@dataclass
class Journal:
    """Keeps the log. `settle`, `wait` and `move` publish what they change."""

    transaction_id: str
    error: Failure | None = None
    listener: Listener | None = None
    is_part: bool = False
    """It is that of a part in a saga, which is counted and told to the listener only where it is parked: another
    journal has the state of the whole."""
    _phase: State = State.RUNNING
    _entries: list[Entry] = field(default_factory=list)
    _moved_deadlines: list[MovedDeadline] = field(default_factory=list)
    _published: State = State.RUNNING
    _attribute_writes: int = 0
    _parked_since: datetime | None = None

    @property
    def state(self) -> State:
        if not self._phase.is_end and any(entry.status is Status.PARKED for entry in self._entries):
            return State.PARKED
        return self._phase

    @property
    def log(self) -> TransactionLog:
        entries = tuple(replace(entry) for entry in self._entries)
        return TransactionLog(self.transaction_id, self.state, self.error, entries, tuple(self._moved_deadlines))

    def require_answers(self) -> None:
        """Raise `RuntimeError` if a call of the body goes on: nobody has awaited it, so its end would be lost."""
        for entry in self._entries:
            if entry.kind is not CallKind.UNDO and entry.status in (Status.RUNNING, Status.WAITING, Status.PARKED):
                raise RuntimeError(f"{entry.step} goes on at the end of the saga: await each call within its block")

    def begin(self, operation: str, kind: CallKind, name: str | None = None) -> Entry:
        """Add the entry of a call, or of a wait, which has its own name instead of an operation's."""
        service = _SAGA if kind is CallKind.WAIT else operation.partition(".")[0]
        step = unique_step(operation, name, {entry.step for entry in self._entries})
        entry = Entry(step, service, kind, Status.RUNNING, attempts=0, started_at=workflow.now(), name=name)
        self._entries.append(entry)
        return entry

    def record(self, entry: Entry, ended: Outcome[Any]) -> Failure | None:
        """Write the outcome of a call into its entry. Return why it failed, or `None` if it was done."""
        if isinstance(ended, Done):
            self.settle(entry, Status.DONE, ended.attempts)
            return None
        status = Status.REFUSED if isinstance(ended, Refused) else Status.UNKNOWN
        self.settle(entry, status, ended.attempts, ended.code)
        return Failure(ended.code, ended.message, entry.step)

    def settle(self, entry: Entry, status: Status, attempts: int, error_code: str | None = None) -> None:
        """Set an entry's status and add to its attempts. PARKED leaves it open, any other status ends it."""
        entry.status = status
        entry.attempts += attempts
        entry.error_code = error_code
        entry.next_question_at = None
        if status is Status.PARKED:
            _count_failed_round(entry)
            entry.parked_since = entry.parked_since or workflow.now()
        else:
            entry.ended_at = workflow.now()
        self._log_line(entry)
        self._publish()

    def wait(self, entry: Entry, until: datetime | None) -> None:
        """Note that the service has work in hand and is asked again at `until`; with `None`, that it is being asked."""
        entry.status = Status.RUNNING if until is None else Status.WAITING
        entry.next_question_at = until
        entry.error_code = None
        if until is not None:
            self._log_line(entry)
        self._publish()

    def move_deadline(self, moved: MovedDeadline) -> None:
        self._moved_deadlines.append(moved)
        until = moved.until.isoformat()
        fields = {"event": "deadline", "transaction_id": self.transaction_id, "service": _SAGA, "until": until}
        told = "%s: deadline moved to %s by %s: %s"
        values = (self.transaction_id, until, moved.actor, moved.reason)
        workflow.logger.info(told, *values, extra=fields | {"actor": moved.actor, "note": moved.reason})

    def move(self, phase: State, error: Failure | None = None) -> None:
        """Note that the saga enters `phase`. The first `error` that is given stays."""
        self._phase = phase
        self.error = self.error or error
        self._publish()

    def end(self, end: State, *, with_skips: bool = False) -> None:
        """End the saga. If a call was skipped, here or in another workflow of the saga, the state says so."""
        skipped = with_skips or any(entry.status is Status.SKIPPED for entry in self._entries)
        self.move(end.with_skips if skipped else end)

    def _log_line(self, entry: Entry) -> None:
        level = {Status.PARKED: workflow.logger.error, Status.UNKNOWN: workflow.logger.warning}
        fields: dict[str, object] = {
            "event": "step",
            "transaction_id": self.transaction_id,
            "step": entry.step,
            "service": entry.service,
            "kind": str(entry.kind),
            "attempt": entry.attempts,
            "status": str(entry.status),
        }
        if entry.error_code is not None:
            fields["error_code"] = entry.error_code
        if entry.note is not None:
            fields["note"] = entry.note
        if entry.next_question_at is not None:
            fields["next_question_at"] = entry.next_question_at.isoformat()
        why = "".join(f" {part}" for part in (entry.error_code, entry.note) if part)
        told = (self.transaction_id, entry.kind, entry.step, entry.status, why)
        level.get(entry.status, workflow.logger.info)("%s: %s %s %s%s", *told, extra=fields)

    def _publish(self) -> None:
        state = self.state
        if state is self._published:
            return
        before, self._published = self._published, state
        if self._attribute_writes or state is not State.CONFIRMED:
            self._publish_attributes(state)
        if state is State.PARKED or not self.is_part:
            count_states(state, self.error.code if self.error else None)
        if self.listener is not None and (State.PARKED in (before, state) or not self.is_part):
            self.listener.changed(before, self.log)
        log = workflow.logger.error if state is State.PARKED else workflow.logger.info
        fields = {"event": "saga", "transaction_id": self.transaction_id, "service": _SAGA, "status": str(state)}
        why = f" {self.error.code}" if self.error else ""
        code = {"error_code": self.error.code} if self.error else {}
        log("%s: saga %s%s", self.transaction_id, state, why, extra=fields | code)

    def _publish_attributes(self, state: State) -> None:
        self._attribute_writes += 1
        updates: list[SearchAttributeUpdate[Any]] = [SAGA_STATE.value_set(str(state))]
        if self.error is not None:
            updates.append(SAGA_ERROR_CODE.value_set(self.error.code))
        if state is State.PARKED:
            self._parked_since = workflow.now()
            updates.append(SAGA_PARKED_SINCE.value_set(self._parked_since))
        elif self._parked_since is not None:
            self._parked_since = None
            updates.append(SAGA_PARKED_SINCE.value_unset())
        upsert(updates, self._attribute_writes)
