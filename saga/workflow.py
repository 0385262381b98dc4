"""What every workflow with a saga answers: its log, what is parked, and what an operator decides about that."""

from __future__ import annotations

from typing import Any, Protocol

from temporalio import workflow
from temporalio.exceptions import ApplicationError

from saga.desk import Decision, Desk, DeskRecord, DeskRefused, Fix, Parked, Retry, Skip
from saga.journal import TransactionLog
from saga.kernel import Saga

DESK_REFUSED = "DESK_REFUSED"
"""The operator's decision cannot be taken; the message says why."""


class Observed(Protocol):
    """What is shown of a saga, or of one participant's part in it."""

    @property
    def desk(self) -> Desk: ...

    @property
    def log(self) -> TransactionLog: ...


class SagaWorkflow:
    """Base of a workflow that runs one saga, kept in `_saga`; one that only plays a part in a saga shows that instead.

    Temporal takes an update once for each update id, so a decision sent again with the same id is taken once.
    """

    _saga: Saga

    @property
    def _shown(self) -> Observed:
        return self._saga

    @workflow.query
    def transaction_log(self) -> TransactionLog:
        """Every step so far: what was called, when, how often, and what became of it."""
        return self._shown.log

    @workflow.query
    def parked(self) -> list[Parked]:
        """The calls that do not get through, those that are being tried again now among them."""
        return self._shown.desk.parked

    @workflow.query
    def desk_record(self, step: str) -> DeskRecord | None:
        """What is known about one call of the desk: both requests and every decision; also when it is settled."""
        return self._shown.desk.record(step)

    @workflow.update
    def desk_retry(self, step: str) -> None:
        """Try the parked `step` again now."""
        self._shown.desk.decide(step, Retry())

    @desk_retry.validator
    def _retry_is_possible(self, step: str) -> None:
        self._check(step, Retry())

    @workflow.update
    def desk_skip(self, step: str, decision: Skip) -> None:
        """Leave the parked `step` undone; it stays in the log for ever who decided so, and why."""
        self._shown.desk.decide(step, decision)

    @desk_skip.validator
    def _skip_is_possible(self, step: str, decision: Skip) -> None:
        self._check(step, decision)

    @workflow.update
    def desk_fix(self, step: str, decision: Fix) -> None:
        """Try the parked `step` again now, with another request."""
        self._shown.desk.decide(step, decision)

    @desk_fix.validator
    def _fix_is_possible(self, step: str, decision: Fix) -> None:
        self._check(step, decision)

    def _check(self, step: str, decision: Decision) -> None:
        try:
            self._shown.desk.check(step, decision)
            if isinstance(decision, Fix):
                self._check_request(decision.request)
        except DeskRefused as refused:
            raise ApplicationError(str(refused), type=DESK_REFUSED, non_retryable=True) from refused

    def _check_request(self, request: dict[str, Any]) -> None:
        """Raise `DeskRefused` for a new request that the business knows to be wrong. Its form is checked before."""
