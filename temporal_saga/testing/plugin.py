"""The pytest plugin: a test with `@every_fault(saga)` runs once for each case. Loaded by the entry point `pytest11`."""

import asyncio
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pytest
from temporalio.testing import WorkflowEnvironment

from temporal_saga.testing.checking import check_case
from temporal_saga.testing.decorator import ATTRIBUTE, Cases
from temporal_saga.testing.faults import FAULTLESS, Case
from temporal_saga.testing.learning import Lesson, Unusable, learn
from temporal_saga.testing.server import release_clock, start_server
from temporal_saga.testing.verdict import Verdict

T = TypeVar("T")


@dataclass
class _Session:
    """One server and one event loop for all cases of a test run. Both start with the first case."""

    _runner: asyncio.Runner = field(default_factory=lambda: asyncio.Runner(loop_factory=asyncio.new_event_loop))
    _server: WorkflowEnvironment | None = None
    _lessons: dict[int, Lesson | Unusable] = field(default_factory=dict)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)

    @property
    def server(self) -> WorkflowEnvironment:
        if self._server is None:
            self._server = self.run(start_server())
        return self._server

    def lesson(self, cases: Cases) -> Lesson | Unusable:
        """What is known of a saga. It is learned once, when the first test of it is collected."""
        key = id(cases.subject)
        if key not in self._lessons:
            try:
                self._lessons[key] = self.run(learn(self.server, cases.subject))
            except Unusable as unusable:
                self._lessons[key] = unusable
        return self._lessons[key]

    def close(self) -> None:
        if self._server is not None:
            self.run(self._server.shutdown())
        self._runner.close()


_SESSION = pytest.StashKey[_Session]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_SESSION] = _Session()


def pytest_unconfigure(config: pytest.Config) -> None:
    config.stash[_SESSION].close()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the saga without a fault while its tests are collected, and make a test of each case.

    An unusable saga has one test, which fails and says why.
    """
    cases = getattr(metafunc.function, ATTRIBUTE, None)
    if not isinstance(cases, Cases):
        return
    if "verdict" not in metafunc.fixturenames:
        raise pytest.UsageError(f"{metafunc.function.__name__}: a test with @every_fault has an argument `verdict`")
    lesson = metafunc.config.stash[_SESSION].lesson(cases)
    generated = [FAULTLESS] if isinstance(lesson, Unusable) else lesson.cases(cases.faults)
    names = [case.name for case in generated]
    metafunc.parametrize("verdict", [(cases, case) for case in generated], ids=names, indirect=True)


@pytest.fixture
def verdict(request: pytest.FixtureRequest) -> Verdict:
    """How the case of this test ended. A test with a bad one has failed before its own code runs."""
    cases: Cases
    case: Case
    cases, case = request.param
    session = request.config.stash[_SESSION]
    lesson = session.lesson(cases)
    if isinstance(lesson, Unusable):
        return Verdict(case, "cannot be tested", (str(lesson),))
    return session.run(check_case(session.server, lesson, case))


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> None:
    """Fail a test of a bad case, in words and without a traceback: there is no line of code to point at."""
    found = pyfuncitem.funcargs.get("verdict")
    if isinstance(found, Verdict) and not found.is_good:
        pytest.fail(
            "\n".join([f"{found.case}: {found.end}", *(f"- {problem}" for problem in found.problems)]), pytrace=False
        )


@pytest.fixture
def time_skipping_server(request: pytest.FixtureRequest) -> Iterator[WorkflowEnvironment]:
    """The server of all cases, for tests of your own. What a test leaves running does not stop the clock of the next.

    It is started on the plugin's event loop, and can be used from any.
    """
    session = request.config.stash[_SESSION]
    yield session.server
    session.run(release_clock(session.server))
