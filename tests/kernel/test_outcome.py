"""The three outcomes of a call, from the errors that Temporal raises."""

from datetime import timedelta

import pytest
from temporalio.exceptions import ActivityError, ApplicationError, CancelledError, FailureError, RetryState, TimeoutType
from temporalio.exceptions import TimeoutError as TimedOut

from temporal_saga import outcome
from temporal_saga.outcome import Done, Refused, StillWorking, Unknown, Working

from .plan import Receipt

no = ApplicationError("no", 3, type="SOLD_OUT", non_retryable=True)
late = TimedOut("late", type=TimeoutType.START_TO_CLOSE, last_heartbeat_details=[])
late_local = TimedOut("late", type=TimeoutType.SCHEDULE_TO_CLOSE, last_heartbeat_details=[])


def regular(cause: BaseException | None) -> ActivityError:
    error = ActivityError(
        "activity failed",
        scheduled_event_id=1,
        started_event_id=2,
        identity="",
        activity_type="car.hold",
        activity_id="1",
        retry_state=RetryState.MAXIMUM_ATTEMPTS_REACHED,
    )
    error.__cause__ = cause
    return error


@pytest.mark.parametrize("error", [regular(no), no])
def test_a_non_retryable_error_with_a_type_is_a_refusal(error: FailureError) -> None:
    assert outcome.classify(error, 4) == Refused("SOLD_OUT", "no", 3)


@pytest.mark.parametrize(
    "cause",
    [
        ApplicationError("down", type="ConnectionError"),
        ApplicationError("who knows", non_retryable=True),  # without a type it is no refusal of a service
        ApplicationError("down", "a detail that counts no attempts", type="ConnectionError"),
    ],
)
def test_an_error_that_is_no_refusal_is_unknown(cause: ApplicationError) -> None:
    for error in (regular(cause), cause):
        assert outcome.classify(error, 4) == Unknown(outcome.SERVICE_UNAVAILABLE, cause.message, 4)


@pytest.mark.parametrize("error", [regular(late), late, regular(late_local)])
def test_a_timeout_is_unknown(error: FailureError) -> None:
    assert outcome.classify(error, 4) == Unknown(outcome.STEP_TIMEOUT, "no answer in time", 4)


@pytest.mark.parametrize("error", [regular(CancelledError("stop")), CancelledError("stop")])
def test_a_cancelled_call_is_unknown(error: FailureError) -> None:
    ended = outcome.classify(error, 4)
    assert isinstance(ended, Unknown)
    assert ended.code == outcome.CANCELLED


@pytest.mark.parametrize(
    "cause",
    [
        StillWorking(timedelta(minutes=10)),
        ApplicationError("of another language", type="STILL_WORKING", next_retry_delay=timedelta(minutes=10)),
    ],
)
def test_work_that_goes_on_is_no_outcome_yet(cause: ApplicationError) -> None:
    for error in (regular(cause), cause):
        assert outcome.classify(error, 4) == Working(timedelta(minutes=10))


def test_an_activity_error_without_a_cause_is_unknown() -> None:
    ended = outcome.classify(regular(None), 2)
    assert isinstance(ended, Unknown)
    assert (ended.code, ended.attempts) == (outcome.SERVICE_UNAVAILABLE, 2)


def test_a_reply_may_say_which_attempt_it_is_of() -> None:
    assert Done(Receipt("car.hold", 3)).attempts == 3
    assert Done("a reply that does not").attempts == 1


@pytest.mark.parametrize(
    ("error", "said"),
    [(ValueError("so it is\nbecause"), "so it is"), (ConnectionResetError(), "ConnectionResetError")],
    ids=["two lines", "nothing"],
)
def test_what_an_error_says_is_one_line_also_if_it_says_nothing(error: Exception, said: str) -> None:
    assert outcome.first_line(error) == said
