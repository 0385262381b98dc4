"""How a call ended: done, refused or unknown. The one place that reads Temporal's failures.

*Done*: the service says so. *Refused*: the service said no and kept nothing; there is nothing to undo. *Unknown*: it
timed out, retries ran out, it was cancelled, the worker was lost; it may have taken effect. Unknown is never taken for
failed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

from temporalio.exceptions import ActivityError, ApplicationError, FailureError, RetryState, is_cancelled_exception
from temporalio.exceptions import TimeoutError as TimedOut

Reply = TypeVar("Reply")

STEP_TIMEOUT = "STEP_TIMEOUT"
"""No answer within the attempts and the time that the policy allows."""
CANCELLED = "CANCELLED"
"""Somebody asked for the saga, or the call, to stop."""
SERVICE_UNAVAILABLE = "SERVICE_UNAVAILABLE"
"""The service answered every attempt with an error that does not say no."""
STEP_UNDONE = "STEP_UNDONE"
"""A fence's refusal: this very step was undone before. Another execution of the saga unwinds it, or has."""
IDEMPOTENCY_CONFLICT = "IDEMPOTENCY_CONFLICT"
"""A fence's refusal: the step came before with another request. It does not say what became of that one."""
UNREADABLE_REPLY = "UNREADABLE_REPLY"
"""The service has answered, in a form that the build which reads the answer does not know. It may have acted."""


@dataclass(frozen=True)
class Done(Generic[Reply]):
    """`before`: attempts of another call for the same, made before the one that the reply belongs to."""

    reply: Reply
    before: int = 0

    @property
    def attempts(self) -> int:
        return self.before + int(getattr(self.reply, "attempt", 1))


@dataclass(frozen=True)
class Refused:
    code: str
    message: str
    attempts: int


@dataclass(frozen=True)
class Unknown:
    code: str
    message: str
    attempts: int


Outcome: TypeAlias = Done[Reply] | Refused | Unknown


def proves_not_done(code: str) -> bool:
    """Whether a refusal with `code` says that the call was never done.

    A conflict does not: the call came before with another request, and that one may have been done.
    """
    return code != IDEMPOTENCY_CONFLICT


def classify(error: FailureError, attempts: int) -> Refused | Unknown:
    """Name the outcome of a failed call that was allowed `attempts` attempts.

    A regular activity fails with an `ActivityError` around the cause, a local one with the bare cause: both arrive
    here. A service says on which attempt it answered in the first detail of its error, where it can; 0 if nobody has
    tried. Where the total time was over first, Temporal does not say how many attempts there were: one is certain.
    """
    cause = (error.cause or error) if isinstance(error, ActivityError) else error
    if is_cancelled_exception(error):
        return Unknown(CANCELLED, "the call was cancelled while it ran", 1)
    if isinstance(cause, TimedOut):
        total_over = isinstance(error, ActivityError) and error.retry_state is RetryState.TIMEOUT
        return Unknown(STEP_TIMEOUT, "no answer in time", 1 if total_over else attempts)
    if isinstance(cause, ApplicationError):
        answered = cause.details[0] if cause.details and isinstance(cause.details[0], int) else attempts
        if cause.non_retryable and cause.type:
            return Refused(cause.type, cause.message, answered)
        code = UNREADABLE_REPLY if cause.type == UNREADABLE_REPLY else SERVICE_UNAVAILABLE
        return Unknown(code, cause.message, answered)
    return Unknown(SERVICE_UNAVAILABLE, str(cause), attempts)
