"""Queries and updates of every workflow with a saga: its log, its parked calls, and an operator's decisions."""

from datetime import datetime
from typing import Any, Protocol

from temporalio import workflow
from temporalio.exceptions import ApplicationError

from temporal_saga.desk import Decision, Desk, DeskRecord, DeskRefused, Fix, Parked, Retry, Skip
from temporal_saga.journal import MoveDeadline, TransactionLog
from temporal_saga.kernel import Saga
from temporal_saga.progress import CancelRefused, DeadlineRefused
from temporal_saga.waiting import until

DESK_REFUSED = "DESK_REFUSED"
"""The operator's decision cannot be taken; the message says why."""
CANCEL_REFUSED = "CANCEL_REFUSED"
"""The saga can only go forward; the message says why."""
_RETRY = Retry()
DEADLINE_REFUSED = "DEADLINE_REFUSED"
"""The deadline cannot be moved; the message says why."""


class Observed(Protocol):
    """What a workflow shows of a saga, or of a participant's part in one."""

    @property
    def desk(self) -> Desk: ...

    @property
    def log(self) -> TransactionLog: ...


class Cancellable(Observed, Protocol):
    """A saga that can be rolled back from outside until its pivot, and given another time. After it, `cancel` raises
    `CancelRefused` and `move_deadline` raises `DeadlineRefused`, and so do the methods that check."""

    @property
    def is_past_pivot(self) -> bool: ...

    def cancel(self, reason: str) -> None: ...

    def check_cancellable(self) -> None: ...

    def move_deadline(self, moved: MoveDeadline) -> None: ...

    def check_deadline(self, until: datetime) -> None: ...


class SagaWorkflow:
    """Base of a workflow that runs one saga: `async with self.saga as saga:`.

    A workflow whose saga has a deadline, policies or an id of its own makes it in its `__init__`.

    Temporal takes an update once for each update id, so a decision sent again with the same id is taken once.
    """

    def __init__(self) -> None:
        self.saga = Saga()

    @property
    def observed(self) -> Observed:
        """What the queries show and the updates act on. A workflow with a part in a saga has another than `saga`."""
        return self.saga

    @workflow.query
    def transaction_log(self) -> TransactionLog:
        """Every call so far: when it was made, how often, and its outcome."""
        return self.observed.log

    @workflow.query
    def parked(self) -> list[Parked]:
        """The parked calls, including those that are being tried again now."""
        return self.observed.desk.parked

    @workflow.query
    def desk_record(self, step: str) -> DeskRecord | None:
        """All about one call that is or was parked: both requests, and every decision."""
        return self.observed.desk.record(step)

    @workflow.update
    def desk_retry(self, step: str, decision: Retry = _RETRY) -> None:
        """Try the parked `step` again now."""
        self.observed.desk.decide(step, decision)

    @desk_retry.validator
    def _retry_is_possible(self, step: str, decision: Retry = _RETRY) -> None:
        self._check(step, decision)

    @workflow.update
    def desk_skip(self, step: str, decision: Skip) -> None:
        """Leave the parked `step` undone; the log keeps who decided so, and why."""
        self.observed.desk.decide(step, decision)

    @desk_skip.validator
    def _skip_is_possible(self, step: str, decision: Skip) -> None:
        self._check(step, decision)

    @workflow.update
    def desk_fix(self, step: str, decision: Fix) -> None:
        """Try the parked `step` again now with another request."""
        self.observed.desk.decide(step, decision)

    @desk_fix.validator
    def _fix_is_possible(self, step: str, decision: Fix) -> None:
        self._check(step, decision)

    def _check(self, step: str, decision: Decision) -> None:
        try:
            self.observed.desk.check(step, decision)
            if isinstance(decision, Fix):
                self._check_request(decision.request)
        except DeskRefused as refused:
            raise ApplicationError(str(refused), type=DESK_REFUSED, non_retryable=True) from refused

    def _check_request(self, request: dict[str, Any]) -> None:
        """Raise `DeskRefused` for a new request that is wrong for this workflow. Its form has been checked."""


class CancellableSagaWorkflow(SagaWorkflow):
    """Base of a workflow whose saga a client may cancel before the pivot, or give another deadline."""

    @property
    def observed(self) -> Cancellable:
        return self.saga

    @workflow.update
    async def decision(self) -> TransactionLog:
        """The log as soon as the pivot is done, with the state CONFIRMED though finishes may be open. A saga that is
        rolled back has it at its end."""
        await until(lambda: self.observed.is_past_pivot or self.observed.log.state.is_end)
        return self.observed.log.as_decided if self.observed.is_past_pivot else self.observed.log

    @workflow.update
    def cancel_saga(self, reason: str) -> None:
        """Roll the saga back. Refused with `CANCEL_REFUSED` once its pivot has been called."""
        self.observed.cancel(reason)

    @cancel_saga.validator
    def _cancel_is_possible(self, reason: str) -> None:  # noqa: ARG002 — a validator takes what its update takes
        try:
            self.observed.check_cancellable()
        except CancelRefused as refused:
            raise ApplicationError(str(refused), type=CANCEL_REFUSED, non_retryable=True) from refused

    @workflow.update
    def move_deadline(self, moved: MoveDeadline) -> None:
        """Set another deadline; the log keeps who, why and until when. Refused with `DEADLINE_REFUSED` once the pivot
        has been called, for a saga that is being rolled back, and for a time that is past or has no time zone."""
        self.observed.move_deadline(moved)

    @move_deadline.validator
    def _deadline_can_be_moved(self, moved: MoveDeadline) -> None:
        try:
            self.observed.check_deadline(moved.until)
        except DeadlineRefused as refused:
            raise ApplicationError(str(refused), type=DEADLINE_REFUSED, non_retryable=True) from refused
