"""A saga, checked in all its cases."""

import logging
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from temporalio.testing import WorkflowEnvironment

from temporal_saga.testing.faults import Case, Fault
from temporal_saga.testing.learning import Lesson, execute, learn
from temporal_saga.testing.report import Report
from temporal_saga.testing.server import start_server
from temporal_saga.testing.subject import Subject
from temporal_saga.testing.verdict import Verdict, judge


async def check(
    subject: Subject, *, faults: Collection[Fault] = tuple(Fault), server: WorkflowEnvironment | None = None
) -> Report:
    """Run a saga in every case of `faults`, one after the other, and say what is wrong.

    `server` is one from `start_server`; without it, one is started for this check. Raises `Unusable` for a saga that
    does not confirm without a fault.
    """
    if server is None:
        async with await start_server() as own:
            return await check(subject, faults=faults, server=own)
    with _quiet():
        lesson = await learn(server, subject)
        return Report([await check_case(server, lesson, case) for case in lesson.cases(faults)])


async def check_case(server: WorkflowEnvironment, lesson: Lesson, case: Case) -> Verdict:
    """Run one case of `lesson`, if learning has not run it yet, and judge it."""
    execution = lesson.executions.get(case)
    if execution is None:
        execution = await execute(server, lesson.subject, case, lesson)
    return judge(lesson, execution)


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out the log lines of the SDK and of the workflows: each fault would write some into the report."""
    logger = logging.getLogger("temporalio")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)
