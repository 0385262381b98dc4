"""The mark that has pytest run a test once for each case of a saga."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, TypeVar

from temporal_saga.testing.faults import Fault
from temporal_saga.testing.subject import Subject

Test = TypeVar("Test", bound=Callable[..., Any])

ATTRIBUTE = "_temporal_saga_cases"


@dataclass(frozen=True)
class Cases:
    """The cases that a test runs in."""

    subject: Subject
    faults: Collection[Fault]


def every_fault(subject: Subject, *, faults: Collection[Fault] = tuple(Fault)) -> Callable[[Test], Test]:
    """Have pytest run a test once for each case of a saga. The test has an argument `verdict`.

    A case with a problem fails before the test's own code runs, which can check what else must hold.
    """

    def mark(test: Test) -> Test:
        setattr(test, ATTRIBUTE, Cases(subject, faults))
        return test

    return mark
