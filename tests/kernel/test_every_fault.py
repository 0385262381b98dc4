"""Every call of a trip in every fault, by the harness that others use too: `temporal_saga.testing`.

The harness checks the state of the services, the order of the undos, the log and the replay of each case. What a trip
must do beyond that is here. Other tests of this folder have what the harness does not put into a saga: two failures at
once, hours of silence, and the two orders of a workflow task's jobs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import timedelta

from temporalio.contrib.pydantic import pydantic_data_converter

from temporal_saga import DEADLINE_EXCEEDED, POLICIES, Policies, State, Status
from temporal_saga.outcome import CANCELLED, SERVICE_UNAVAILABLE
from temporal_saga.testing import Fault, SagaUnderTest, Verdict, every_fault
from temporal_saga.testing.injection import REFUSED

from .plan import PIVOT, ROLLBACK_CALL, STEPS, UNDOS, siblings_of
from .policies import COLOCATED, MINUTE
from .services import FakeServices
from .workflows import Trip, TripWorkflow

_OF_SERVICES = {Fault.TWICE, Fault.LATE, Fault.UNDO_TWICE}
"""They test the fence of a service. A saga does not notice them."""
_WEAKER = {Fault.ERROR, Fault.CANCELLED_BEFORE}
"""The same to a saga as the fault after the effect, which leaves more to undo."""
_CODES = {
    Fault.REFUSED: REFUSED,
    Fault.CANCELLED_ROLLBACK: REFUSED,
    Fault.REPLY_LOST: SERVICE_UNAVAILABLE,
    Fault.DEADLINE: DEADLINE_EXCEEDED,
    Fault.CANCELLED_AFTER: CANCELLED,
    Fault.CANCELLED_TWICE: CANCELLED,
}
"""The faults of a step that roll a trip back, each with the code of the rollback."""
_REFUSALS = {Fault.REFUSED, Fault.CANCELLED_ROLLBACK}
_STEPS, _UNDOS = {step.name for step in STEPS}, {undo.name for undo in UNDOS}


def trip(policies: Policies) -> Callable[[], SagaUnderTest]:
    """A trip whose deadline passes within an attempt, and not between two."""
    long = replace(policies, forward=policies.forward.with_attempt_timeout(timedelta(minutes=2)))

    def make() -> SagaUnderTest:
        services = FakeServices()
        return SagaUnderTest(
            workflow=TripWorkflow.run,
            input=lambda case: Trip(case, policies=long, deadline=MINUTE),
            activities=services.activities(),
            state=services.held,
            data_converter=pydantic_data_converter,
        )

    return make


@every_fault(trip(POLICIES), faults=set(Fault) - _OF_SERVICES - _WEAKER)
def test_a_trip_is_booked_whole_or_not_at_all(verdict: Verdict) -> None:
    expect_the_right_end(verdict, given_up=_CODES)


@every_fault(trip(COLOCATED), faults={Fault.NONE, Fault.REFUSED, Fault.REPLY_LOST})
def test_a_colocated_trip_asks_again_over_the_queue(verdict: Verdict) -> None:
    expect_the_right_end(verdict, given_up=_REFUSALS)


def expect_the_right_end(verdict: Verdict, *, given_up: Collection[Fault]) -> None:
    """Expect a rollback of a trip in which a step has one of these faults or the pivot is refused, and a confirmation
    of any other."""
    log, cause = verdict.log, verdict.case.trigger or verdict.case
    assert log is not None
    called = None if cause.target is None else cause.target.activity
    is_over = (called in _STEPS and cause.fault in given_up) or (called == PIVOT.name and cause.fault in _REFUSALS)
    assert log.state is (State.ROLLED_BACK if is_over else State.CONFIRMED)
    if not is_over:
        assert log.error is None
        return
    assert called is not None
    assert log.error is not None
    is_blamed = cause.fault in (*_REFUSALS, Fault.REPLY_LOST)
    assert (log.error.code, log.error.step) == (_CODES[cause.fault], called if is_blamed else None)
    entry = next(entry for entry in log.steps if entry.step == called)
    assert entry.status is (Status.REFUSED if cause.fault in _REFUSALS else Status.UNKNOWN)
    assert {entry.status for entry in log.steps if entry.step in _UNDOS} <= {Status.DONE}
    later = verdict.calls[verdict.calls.index(called) + 1 :]
    assert set(later) <= _UNDOS | {ROLLBACK_CALL.name} | siblings_of(called), "nothing more is begun"
    assert later[-1] == ROLLBACK_CALL.name
