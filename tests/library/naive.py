"""The sagas that are wrong, each with the case that catches it and what it says: docs/library/testing.md."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from temporal_saga.testing import Fault, SagaUnderTest

from . import sagas
from .agency import Agency, Trip

DOCUMENT = "docs/library/testing.md"


@dataclass(frozen=True)
class Naive:
    """A defect, the workflow and the services that have it, a case that catches it, and the sentence of that case."""

    defect: str
    workflow: type[Any]
    fault: Fault
    case: str
    says: str
    services: dict[str, bool] = field(default_factory=dict)

    @property
    def row(self) -> str:
        return f"| {self.defect} | `{self.case}` | {self.says} |"


def trip(workflow: type[Any], **services: bool) -> Callable[[], SagaUnderTest]:
    """A trip with new services in each case."""

    def make() -> SagaUnderTest:
        agency = Agency(**services)
        run = workflow.run
        return SagaUnderTest(workflow=run, input=Trip, activities=agency.activities(), state=agency.state)

    return make


NAIVE = (
    Naive(
        "A step has no undo",
        sagas.ForgottenUndo,
        Fault.REFUSED,
        "car.book refused",
        "hotel.book took effect and was never undone: forgotten undo?",
    ),
    Naive(
        "An undo is registered after its step instead of before",
        sagas.UndoRegisteredAfter,
        Fault.REPLY_LOST,
        "hotel.book reply lost",
        "hotel.book took effect, its reply was lost, and it was never undone: "
        "is hotel.cancel registered only after the step?",
    ),
    Naive(
        "An undo is not idempotent",
        sagas.TripWorkflow,
        Fault.UNDO_TWICE,
        "hotel.cancel delivered twice",
        "hotel.cancel is not idempotent: delivered twice, it changed hotel.free +1 again",
        {"remembers_cancels": False},
    ),
    Naive(
        "An undo takes back what its step has not done",
        sagas.TripWorkflow,
        Fault.ERROR,
        "hotel.book error",
        "hotel.cancel took back what hotel.book had not done: it must look first",
        {"remembers_cancels": False},
    ),
    Naive(
        "A step is not idempotent",
        sagas.TripWorkflow,
        Fault.TWICE,
        "hotel.book delivered twice",
        "hotel.book is not idempotent: delivered twice, it changed hotel.free -1, hotel.trips has '<id>' again",
        {"remembers_bookings": False},
    ),
    Naive(
        "`except Exception` around a step swallows its failure",
        sagas.FailureSwallowed,
        Fault.REFUSED,
        "car.book refused",
        "the saga ends as confirmed, but car.book is not done: is its failure, or the cancellation, swallowed?",
    ),
    Naive(
        "`except Exception` around a step swallows a cancellation",
        sagas.FailureSwallowed,
        Fault.CANCELLED_BEFORE,
        "car.book cancelled before its effect",
        "the saga ends as confirmed, but car.book is not done: is its failure, or the cancellation, swallowed?",
    ),
    Naive(
        "Undos run in the order of their steps",
        sagas.UndoneInOrder,
        Fault.REFUSED,
        "hotel.book refused",
        "undone in the wrong order: flight.cancel ended before hotel.cancel began, but hotel.book came after "
        "flight.book",
    ),
    Naive(
        "An undo that fails is logged and left",
        sagas.UndoGivenUp,
        Fault.UNDO_FAILS,
        "hotel.cancel fails for a while",
        "hotel.book took effect and is not undone: hotel.cancel was given up",
    ),
    Naive(
        "A cancellation ends the rollback",
        sagas.RollbackCancelled,
        Fault.CANCELLED_ROLLBACK,
        "car.book refused, cancelled during the rollback",
        "flight.book took effect and was never undone: flight.cancel was not called",
    ),
    Naive(
        "`except ActivityError` misses the deadline",
        sagas.DeadlineMissed,
        Fault.DEADLINE,
        "hotel.book deadline",
        "flight.book took effect and was never undone: flight.cancel was not called",
    ),
    Naive(
        "The result says booked, though all is undone",
        sagas.SaysBooked,
        Fault.REFUSED,
        "car.book refused",
        "the saga ends as confirmed, but all of it is undone: does its result say so (`is_confirmed`)?",
    ),
    Naive(
        "The rollback waits for what never comes",
        sagas.WaitsForEver,
        Fault.REFUSED,
        "car.book refused",
        "the saga has not ended: it is left hanging",
    ),
    Naive(
        "A service has no fence",
        sagas.TripWorkflow,
        Fault.LATE,
        "hotel.book late attempt",
        "a late attempt of hotel.book took effect (hotel.free -1, hotel.trips has '<id>') after hotel.cancel, so "
        "nothing undoes it: the service needs a fence",
        {"is_fenced": False},
    ),
)
