"""The outcome of a call: done, refused or unknown. Only this module interprets Temporal's failures.

*Done*: the service has replied. *Refused*: the service has said no and changed nothing, so there is nothing to undo.
*Unknown*: the call timed out, its retries ran out, it was cancelled, or its worker was lost; it may have taken effect,
so the kernel never treats it as refused.

A service that has the work in hand raises `StillWorking`. That is no outcome: the call is not over, and
`temporal_saga.calls` asks again.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Generic, TypeAlias, TypeVar

from temporalio import activity
from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    ApplicationErrorCategory,
    FailureError,
    RetryState,
    is_cancelled_exception,
)
from temporalio.exceptions import TimeoutError as TimedOut

from temporal_saga.fence import rules

Reply = TypeVar("Reply")

STEP_TIMEOUT = "STEP_TIMEOUT"
"""The service did not answer within the attempts and the time that the policy allows."""
CANCELLED = "CANCELLED"
"""The saga or the call was cancelled."""
SERVICE_UNAVAILABLE = "SERVICE_UNAVAILABLE"
"""Every attempt failed with an error that is not a refusal."""
STEP_UNDONE = rules.STEP_UNDONE
"""The fence refuses a step that was undone before: another execution of the saga is or was rolled back."""
IDEMPOTENCY_CONFLICT = rules.IDEMPOTENCY_CONFLICT
"""The fence refuses a step that came before with another request. That one may have been done."""
UNREADABLE_REPLY = "UNREADABLE_REPLY"
"""The service has replied, but this build cannot read the reply. The call may have taken effect."""
STILL_WORKING = "STILL_WORKING"
"""The service has begun the work, and says when to ask it again. A service in another language fails its activity with
this type and, as `next_retry_delay`, the pause."""


class StillWorking(ApplicationError):
    """What a service raises whose work goes on: the saga makes the same call again after `ask_again_in`.

    The service must know the call again, by its idempotency key. Raises `ValueError` for a pause that is not positive.
    """

    def __init__(self, ask_again_in: timedelta, message: str = "the work goes on") -> None:
        if ask_again_in <= timedelta(0):
            raise ValueError(f"ask_again_in is {ask_again_in}: it must be longer than nothing")
        super().__init__(
            message,
            type=STILL_WORKING,
            non_retryable=True,  # the saga asks again, not Temporal: that would spend the attempts of the policy
            next_retry_delay=ask_again_in,
            category=ApplicationErrorCategory.BENIGN,
        )


class Refusal(ApplicationError):
    """Raised by a service that says no and has changed nothing: a final answer, which is not retried.

    `code` is stable and for programs, `message` for people. Temporal's failure metrics do not count it.
    """

    def __init__(self, code: str, message: str) -> None:
        attempt = (activity.info().attempt,) if activity.in_activity() else ()
        category = ApplicationErrorCategory.BENIGN
        super().__init__(message, *attempt, type=code, non_retryable=True, category=category)


@dataclass(frozen=True)
class Done(Generic[Reply]):
    """`before` counts attempts by an earlier call for the same step: local or eager, before the one that replied."""

    reply: Reply
    before: int = 0

    @property
    def attempts(self) -> int:
        attempt = getattr(self.reply, "attempt", 1)  # a service's own field may have the name, and another meaning
        return self.before + (attempt if type(attempt) is int else 1)

    @property
    def is_repeated(self) -> bool:
        """Whether the service says that it has repeated a kept reply, though no attempt of this call was before."""
        return self.attempts == 1 and getattr(self.reply, "repeated", False) is True


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


@dataclass(frozen=True)
class Working:
    """An answer that is no outcome yet. `pause` is the one that the service wants, if it names one."""

    pause: timedelta | None


def proves_not_done(code: str) -> bool:
    """Whether a refusal with `code` says that the call was never done.

    A conflict does not: the call came before with another request, and that one may have been done.
    """
    return code != IDEMPOTENCY_CONFLICT


def first_line(error: BaseException) -> str:
    """What an error says, on one line; its kind if it says nothing."""
    return next(iter(str(error).splitlines()), type(error).__name__)


def refusal_code(error: ApplicationError) -> str | None:
    """The code of a refusal, an error with a type that Temporal must not retry; `None` for any other error."""
    return error.type or None if error.non_retryable else None


def classify(error: FailureError, attempts: int) -> Refused | Unknown | Working:
    """Return the outcome of a failed call that was allowed `attempts` attempts, or `Working` if it goes on.

    A regular activity fails with an `ActivityError` around the cause, a local one with the bare cause. The first detail
    of a service's error is the attempt on which it answered, or 0 if no attempt was made. If the total time was over
    first, Temporal does not tell the number of attempts: one is certain.
    """
    cause = (error.cause or error) if isinstance(error, ActivityError) else error
    if is_cancelled_exception(error):
        return Unknown(CANCELLED, "the call was cancelled while it ran", 1)
    if isinstance(cause, TimedOut):
        total_over = isinstance(error, ActivityError) and error.retry_state is RetryState.TIMEOUT
        return Unknown(STEP_TIMEOUT, "no answer in time", 1 if total_over else attempts)
    if isinstance(cause, ApplicationError):
        if cause.type == STILL_WORKING:
            return Working(cause.next_retry_delay)
        answered = cause.details[0] if cause.details and isinstance(cause.details[0], int) else attempts
        if code := refusal_code(cause):
            return Refused(code, cause.message, answered)
        code = UNREADABLE_REPLY if cause.type == UNREADABLE_REPLY else SERVICE_UNAVAILABLE
        return Unknown(code, cause.message, answered)
    return Unknown(SERVICE_UNAVAILABLE, str(cause), attempts)
