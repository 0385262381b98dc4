"""The harness for sagas: it passes those that are right, and says of each wrong one what is wrong with it."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

import pytest
from temporalio import activity, workflow
from temporalio.testing import WorkflowEnvironment

from temporal_saga import CancellableSagaWorkflow
from temporal_saga.testing import Case, Fault, Report, SagaUnderTest, Unusable, Verdict, check
from temporal_saga.testing.checking import check_case
from temporal_saga.testing.learning import learn

from . import sagas
from .agency import BOOK, CANCEL, SERVICES, Agency, Trip
from .naive import DOCUMENT, NAIVE, Naive, trip

_ROOT = Path(__file__).parents[2]


async def test_nothing_is_wrong_with_a_plain_saga_that_is_right(time_skipping_server: WorkflowEnvironment) -> None:
    """`tests/kernel/test_every_fault.py` has one on the kernel with each kind of call."""
    report = await check(trip(sagas.PlainTrip), server=time_skipping_server)
    assert report.is_good, str(report)


@pytest.mark.parametrize("naive", NAIVE, ids=lambda naive: naive.defect)
async def test_a_wrong_saga_is_caught_and_told_what_is_wrong(
    time_skipping_server: WorkflowEnvironment, naive: Naive
) -> None:
    lesson = await learn(time_skipping_server, trip(naive.workflow, **naive.services))
    faultless, *others = lesson.cases({Fault.NONE, naive.fault})
    assert (await check_case(time_skipping_server, lesson, faultless)).is_good, "without a fault nothing is wrong"
    [case] = [case for case in others if case.name == naive.case]
    assert naive.says in (await check_case(time_skipping_server, lesson, case)).problems


def test_the_documented_table_is_that_of_the_wrong_sagas() -> None:
    lines = (_ROOT / DOCUMENT).read_text().splitlines()
    begin = lines.index("| defect | case | what it says |")
    assert lines[begin + 2 : begin + 2 + len(NAIVE)] == [naive.row for naive in NAIVE]


def test_every_fault_is_documented() -> None:
    text = (_ROOT / DOCUMENT).read_text()
    assert [fault.words for fault in Fault if f"| `{fault.words}` |" not in text] == []


async def test_services_that_keep_their_state_between_cases_will_do(time_skipping_server: WorkflowEnvironment) -> None:
    agency = Agency()
    agency.booked["hotel"].append("someone else's")
    saga = SagaUnderTest(
        workflow=sagas.TripWorkflow.run, input=Trip, activities=agency.activities(), state=agency.state
    )
    report = await check(saga, faults={Fault.NONE, Fault.REFUSED, Fault.TWICE}, server=time_skipping_server)
    assert report.is_good, str(report)
    assert len(report.verdicts) == 1 + 2 * len(SERVICES)


async def test_plain_functions_and_a_state_that_is_awaited_will_do(time_skipping_server: WorkflowEnvironment) -> None:
    async def make() -> SagaUnderTest:
        seats = set[str]()

        @activity.defn(name="flight.book")
        def book(trip: Trip) -> None:
            seats.add(activity.info().workflow_id or "")

        async def state() -> dict[str, set[str]]:
            return {"seats": seats}

        def input_of(case: str) -> Tour:
            return Tour(case, ("flight",))

        return SagaUnderTest(workflow=TourWorkflow.run, input=input_of, activities=[book], state=state)

    report = await check(make, faults={Fault.NONE, Fault.TWICE, Fault.LATE}, server=time_skipping_server)
    assert [(verdict.case.name, verdict.is_good) for verdict in report.verdicts] == [
        ("without a fault", True),
        ("flight.book late attempt", False),
        ("flight.book delivered twice", True),
    ]


async def test_a_saga_that_fails_without_a_fault_is_unusable(time_skipping_server: WorkflowEnvironment) -> None:
    agency = Agency()
    [_, *others] = agency.activities()
    saga = SagaUnderTest(
        workflow=sagas.TripWorkflow.run, input=Trip, activities=[sold_out, *others], state=agency.state
    )
    with pytest.raises(Unusable, match=r"without a fault the saga ends as failed \(.*\): it must end as confirmed"):
        await check(saga, server=time_skipping_server)


async def test_a_state_that_shows_no_change_is_unusable(time_skipping_server: WorkflowEnvironment) -> None:
    saga = SagaUnderTest(
        workflow=sagas.TripWorkflow.run, input=Trip, activities=Agency().activities(), state=lambda: {"flight": 1}
    )
    with pytest.raises(Unusable, match="`state` shows no change"):
        await check(saga, server=time_skipping_server)


async def test_a_call_that_is_not_made_again_is_a_problem(time_skipping_server: WorkflowEnvironment) -> None:
    """A saga whose calls depend on more than its input cannot be tested so: a case must not pass without its fault."""
    agency, runs = Agency(), []

    def input_of(case: str) -> Tour:
        runs.append(case)
        return Tour(case, SERVICES if len(runs) == 1 else SERVICES[:1])

    saga = SagaUnderTest(workflow=TourWorkflow.run, input=input_of, activities=agency.activities(), state=agency.state)
    report = await check(saga, faults={Fault.TWICE}, server=time_skipping_server)
    [hotel] = [verdict for verdict in report.verdicts if verdict.case.name == "hotel.book delivered twice"]
    assert "hotel.book was not called: the saga makes other calls than before" in hotel.problems


async def test_a_history_that_does_not_replay_and_a_log_with_an_open_call_are_problems(
    time_skipping_server: WorkflowEnvironment,
) -> None:
    for wrong, says in ((Forgetful, _NOT_REPLAYED), (Hasty, _STILL_OPEN)):
        [verdict] = (await check(trip(wrong), faults={Fault.NONE}, server=time_skipping_server)).verdicts
        [problem] = verdict.problems
        assert problem.startswith(says)


def test_the_report_is_a_table_with_a_line_for_each_case() -> None:
    case = Case(Fault.NONE)
    good, bad = Verdict(case, "ends as confirmed", ()), Verdict(case, "ends as failed", ("this", "that"))
    assert str(Report([good, bad])).splitlines() == [
        "ok  without a fault  ends as confirmed",
        "BAD without a fault  ends as failed",
        "                     this",
        "                     that",
        "2 cases, 1 with problems",
    ]


_PLUGINS = ("-p", "temporal_saga.testing.plugin", "-p", "no:asyncio", "-p", "no:xdist")
_USER = """
from temporal_saga.testing import Fault, SagaUnderTest, every_fault
from tests.library import sagas
from tests.library.agency import Agency, Trip
from tests.library.naive import trip

def shows_nothing():
    return SagaUnderTest(
        workflow=sagas.TripWorkflow.run, input=Trip, activities=Agency().activities(), state=lambda: {}
    )

@every_fault(trip(sagas.ForgottenUndo), faults={Fault.REFUSED})
def test_trip(verdict):
    pass

@every_fault(shows_nothing)
def test_nothing(verdict):
    pass
"""


def test_pytest_runs_a_test_for_each_case_and_says_what_is_wrong(pytester: pytest.Pytester) -> None:
    """A saga that cannot be tested has one test, which fails."""
    pytester.makepyfile(_USER)
    result = pytester.runpytest_inprocess("-v", *_PLUGINS)
    result.assert_outcomes(passed=2, failed=2)
    result.stdout.fnmatch_lines(
        [
            "*::test_trip[[]flight.book refused[]] PASSED*",
            "*::test_trip[[]hotel.book refused[]] PASSED*",
            "*::test_trip[[]car.book refused[]] FAILED*",
            "*::test_nothing[[]without a fault[]] FAILED*",
            "*car.book refused: ends as failed (ActivityError)",
            "*- hotel.book took effect and was never undone: forgotten undo?",
            "*without a fault `state` shows no change*",
        ]
    )


def test_the_example_of_the_page_passes_in_all_its_cases(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_trip=Path(__file__).with_name("trip.py").read_text())
    result = pytester.runpytest_inprocess("-v", *_PLUGINS)
    result.assert_outcomes(passed=26 + 1)
    shown = [line for line in (_ROOT / DOCUMENT).read_text().splitlines() if line.startswith("test_trip.py::")]
    assert len(shown) == 3
    result.stdout.fnmatch_lines([line.replace("[", "[[]") + "*" for line in shown])


def test_pytest_asks_for_the_argument_verdict(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(_USER.replace("test_trip(verdict)", "test_trip()"))
    result = pytester.runpytest_inprocess(*_PLUGINS)
    result.stdout.fnmatch_lines(["*test_trip: a test with @every_fault has an argument `verdict`*"])


@dataclass(frozen=True)
class Tour:
    trip_id: str
    services: tuple[str, ...]


@workflow.defn
class TourWorkflow:
    """Books some services."""

    @workflow.run
    async def run(self, tour: Tour) -> str:
        for name in tour.services:
            await sagas.attempt(BOOK[name], Trip(tour.trip_id))
        return "booked"


_NOT_REPLAYED = "its history cannot be replayed, so a new worker could not go on with it: "
_STILL_OPEN = "the saga ends as confirmed, and boat.book is still RUNNING in its transaction log"
_begun: set[str] = set()


@workflow.defn
class Forgetful:
    """Does what depends on a variable of its process, which another worker does not have."""

    @workflow.run
    async def run(self, trip: Trip) -> str:
        if trip.trip_id not in _begun:
            _begun.add(trip.trip_id)
            await workflow.sleep(1)
        await sagas.attempt(BOOK["flight"], trip)
        return "booked"


@workflow.defn
class Hasty(CancellableSagaWorkflow):
    """Does not wait for a call that it has begun."""

    @workflow.run
    async def run(self, trip: Trip) -> None:
        async with self.saga as saga:
            await saga.step(BOOK["flight"], trip, undo=CANCEL["flight"])
        booking = saga.best_effort(BOOK["boat"], trip)
        self.booking = asyncio.create_task(booking)
        await asyncio.sleep(0)


@activity.defn(name="flight.book")
async def sold_out(trip: Trip) -> str:
    raise ValueError("sold out")
