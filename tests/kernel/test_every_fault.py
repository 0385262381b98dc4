"""Every call of a trip in every fault, by the harness that others use too: `temporal_saga.testing`.

The harness checks the state of the services, the order of the undos, the log and the replay of each case. What a trip
must do beyond that is here. Other tests of this folder have what the harness does not put into a saga: two failures at
once, hours of silence, and the two orders of a workflow task's jobs.
"""

from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import timedelta

import pytest
from temporalio.testing import WorkflowEnvironment

from temporal_saga import DEADLINE_EXCEEDED, POLICIES, Policies, State, Status
from temporal_saga.outcome import CANCELLED, SERVICE_UNAVAILABLE
from temporal_saga.testing import Fault, Report, SagaUnderTest, Verdict
from temporal_saga.testing.checking import check_case
from temporal_saga.testing.injection import REFUSED
from temporal_saga.testing.learning import Lesson, learn

from .plan import PIVOT, ROLLBACK_CALL, STEPS, UNDOS, siblings_of
from .policies import COLOCATED, MINUTE
from .services import FakeServices
from .workflows import Trip, TripWorkflow

_UNNOTICED = {Fault.TWICE, Fault.LATE, Fault.UNDO_TWICE, Fault.ERROR, Fault.CANCELLED_BEFORE}
"""Faults that test the fence of a service. To a saga the last two are the same as the fault after the effect."""
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
pytestmark = pytest.mark.xdist_group("every fault")  # a test worker that has learned the trip runs all its cases
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
        )

    return make


_lessons: dict[Policies, Lesson] = {}
"""What this test worker knows of the trips: learning one costs a dozen runs."""


async def verdicts_of(server: WorkflowEnvironment, policies: Policies, faults: Collection[Fault]) -> list[Verdict]:
    if policies not in _lessons:
        _lessons[policies] = await learn(server, trip(policies))
    lesson = _lessons[policies]
    report = Report([await check_case(server, lesson, case) for case in lesson.cases(faults)])
    assert report.verdicts
    assert report.is_good, str(report)
    return list(report.verdicts)


_LONG = {Fault.WORKER_REPLACED, Fault.CANCELLED_TWICE}
_FAULTS = [
    pytest.param(each, id=each.value, marks=pytest.mark.long if each in _LONG else ())
    for each in Fault
    if each not in _UNNOTICED
]


@pytest.mark.parametrize("fault", _FAULTS)
async def test_a_trip_is_booked_whole_or_not_at_all(server: WorkflowEnvironment, fault: Fault) -> None:
    for verdict in await verdicts_of(server, POLICIES, {fault}):
        expect_the_right_end(verdict, given_up=_CODES)


@pytest.mark.long
async def test_a_colocated_trip_asks_again_over_the_queue(server: WorkflowEnvironment) -> None:
    for verdict in await verdicts_of(server, COLOCATED, {Fault.NONE, Fault.REFUSED, Fault.REPLY_LOST}):
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
