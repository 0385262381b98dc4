"""Each hazard of docs/library/hazards.md: what a plain workflow does, and what a saga does."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from temporalio import activity
from temporalio.client import WorkflowExecutionStatus, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from temporal_saga import SagaPlugin
from temporal_saga.testing import Fault, SagaUnderTest, check
from tests.eventually import eventually_async

from . import hazards, sagas
from .agency import Agency, Trip
from .naive import NAIVE, trip

_PAGE = Path(__file__).parents[2] / "docs/library/hazards.md"
Subject = Callable[[], SagaUnderTest]


def _stay(workflow: type[Any], hotel: type[hazards.Hotel]) -> Subject:
    def make() -> SagaUnderTest:
        at = hotel()
        return SagaUnderTest(workflow=workflow.run, input=lambda case: case, activities=at.activities(), state=at.state)

    return make


@dataclass(frozen=True)
class Hazard:
    """A plain saga, the case that shows what goes wrong, what is found then, and the saga that survives each case."""

    title: str
    plain: Subject
    fault: Fault
    case: str
    says: str
    ours: Subject


_AMONG_THE_NAIVE = (sagas.UndoRegisteredAfter, sagas.RollbackCancelled, sagas.UndoGivenUp, sagas.DeadlineMissed)
"""The sagas of the page that `test_harness` runs. `tests/kernel/test_every_fault.py` has the same faults in a saga."""
HAZARDS = (
    Hazard(
        "an undo needs the reply of its step",
        _stay(hazards.RoomByNumber, hazards.FencedHotel),
        Fault.REPLY_LOST,
        "take_room reply lost",
        "take_room took effect, its reply was lost, and it was never undone: "
        "is give_back registered only after the step?",
        _stay(hazards.RoomByGuest, hazards.FencedHotel),
    ),
    Hazard(
        "a step is not idempotent",
        _stay(hazards.RoomByGuest, hazards.Hotel),
        Fault.TWICE,
        "take_room delivered twice",
        "take_room is not idempotent: delivered twice, it changed rooms has '<id>' again",
        _stay(hazards.RoomByGuest, hazards.FencedHotel),
    ),
    Hazard(
        "a late attempt",
        _stay(hazards.RoomByGuest, hazards.IdempotentHotel),
        Fault.LATE,
        "take_room late attempt",
        "a late attempt of take_room took effect (rooms has '<id>') after give_back_of, so nothing undoes it: "
        "the service needs a fence",
        _stay(hazards.RoomByGuest, hazards.FencedHotel),
    ),
    Hazard(
        "a decision is rolled back",
        trip(hazards.DecisionRolledBack),
        Fault.REPLY_LOST,
        "train.book reply lost",
        "train.book took effect, its reply was lost, and it was never undone: "
        "forgotten undo, or registered only after the step?",
        trip(hazards.Decision),
    ),
    Hazard(
        "a cancellation is swallowed",
        trip(sagas.FailureSwallowed),
        Fault.CANCELLED_BEFORE,
        "car.book cancelled before its effect",
        "the saga ends as confirmed, but car.book is not done: is its failure, or the cancellation, swallowed?",
        trip(hazards.CarIfThereIsOne),
    ),
)


@pytest.mark.parametrize("hazard", HAZARDS, ids=lambda hazard: hazard.title)
async def test_a_plain_saga_has_the_hazard_and_ours_has_not(
    time_skipping_server: WorkflowEnvironment, hazard: Hazard
) -> None:
    plain = await check(hazard.plain, faults={hazard.fault}, server=time_skipping_server)
    [found] = [verdict for verdict in plain.problems if verdict.case.name == hazard.case]
    assert hazard.says in found.problems
    ours = await check(hazard.ours, faults={hazard.fault}, server=time_skipping_server)
    assert ours.verdicts
    assert ours.is_good, str(ours)


def test_the_page_quotes_what_is_found() -> None:
    page = " ".join(_PAGE.read_text().split())
    said = [hazard.says for hazard in HAZARDS]
    said += [naive.says for naive in NAIVE if naive.workflow in _AMONG_THE_NAIVE and naive.fault is not Fault.REFUSED]
    assert len(said) == len(HAZARDS) + len(_AMONG_THE_NAIVE)
    assert [says for says in said if says not in page] == []


@dataclass
class Run:
    """A trip under way, and the services that it uses."""

    server: WorkflowEnvironment
    handle: WorkflowHandle[Any, Any]
    agency: Agency

    @property
    def booked(self) -> list[str]:
        return [service for service, trips in self.agency.booked.items() if trips]

    async def end(self) -> None:
        """Wait for the end, which may be a failure."""
        try:
            await self.handle.result()
        except WorkflowFailureError:
            return

    async def until_booked(self, *names: str) -> None:
        await eventually_async(self._booked, "it is booked", until=lambda booked: booked == list(names))

    async def _booked(self) -> list[str]:
        return self.booked


@asynccontextmanager
async def started(server: WorkflowEnvironment, workflow: type[Any], **others: Callable[..., Any]) -> AsyncIterator[Run]:
    """Start a trip. `others` take the place of activities, with `_` for the dot."""
    agency, queue = Agency(), f"hazard-{uuid4()}"
    served = {activity._Definition.must_from_callable(each).name: each for each in agency.activities()}
    for name, make in others.items():
        dotted = name.replace("_", ".")
        served[dotted] = activity.defn(name=dotted)(make(served[dotted]))
    async with Worker(
        server.client,
        task_queue=queue,
        workflows=[workflow],
        activities=list(served.values()),
        workflow_runner=UnsandboxedWorkflowRunner(),
        plugins=[SagaPlugin()],
    ):
        handle = await server.client.start_workflow(workflow.run, Trip(queue), id=queue, task_queue=queue)
        yield Run(server, handle, agency)


Activity = Callable[[Trip], Any]


def reply_lost(real: Activity) -> Activity:
    """The service acts, and no attempt gets its answer."""

    async def act(trip: Trip) -> str:
        await real(trip)
        raise TimeoutError("the reply is lost")

    return act


def away(_: Activity) -> Activity:
    async def fail(trip: Trip) -> str:
        raise ConnectionError("the service is away")

    return fail


def refusing(_: Activity) -> Activity:
    async def refuse(trip: Trip) -> str:
        raise ApplicationError("no seat is free", type="SOLD_OUT", non_retryable=True)

    return refuse


def waiting_for(event: asyncio.Event) -> Callable[[Activity], Activity]:
    """The service acts, and answers when `event` is set."""

    def make(real: Activity) -> Activity:
        async def act(trip: Trip) -> Any:
            reply = await real(trip)
            await event.wait()
            return reply

        return act

    return make


def setting(event: asyncio.Event) -> Callable[[Activity], Activity]:
    """The service acts and sets `event`."""

    def make(real: Activity) -> Activity:
        async def act(trip: Trip) -> Any:
            reply = await real(trip)
            event.set()
            return reply

        return act

    return make


@pytest.mark.parametrize(
    ("workflow", "left"), [(hazards.CancelledInAWait, ["flight"]), (hazards.ApprovedTrip, [])], ids=["plain", "ours"]
)
async def test_a_cancellation_in_a_wait_is_no_exception(
    time_skipping_server: WorkflowEnvironment, workflow: type[Any], left: list[str]
) -> None:
    async with started(time_skipping_server, workflow) as run:
        await run.until_booked("flight")
        await run.handle.cancel()
        await run.end()
    assert run.booked == left


@pytest.mark.parametrize(
    ("workflow", "left"),
    [(hazards.TimeoutTakenForANo, ["train", "boat"]), (hazards.UnknownIsUndone, ["boat"])],
    ids=["plain", "ours"],
)
async def test_a_lost_reply_is_no_refusal(
    time_skipping_server: WorkflowEnvironment, workflow: type[Any], left: list[str]
) -> None:
    async with started(time_skipping_server, workflow, train_book=reply_lost) as run:
        await run.end()
    assert run.booked == left


@pytest.mark.parametrize(
    ("workflow", "left"), [(hazards.Gathered, ["car"]), (hazards.SideBySide, [])], ids=["plain", "ours"]
)
async def test_a_branch_does_not_go_on_while_the_others_are_undone(
    time_skipping_server: WorkflowEnvironment, workflow: type[Any], left: list[str]
) -> None:
    """The flight is refused while the hotel is being booked, and the undo of the flight lasts longer than the car."""
    undoing, car_booked = asyncio.Event(), asyncio.Event()
    async with started(
        time_skipping_server,
        workflow,
        flight_book=refusing,
        hotel_book=waiting_for(undoing),
        hotel_cancel=setting(undoing),
        car_book=setting(car_booked),
        flight_cancel=waiting_for(car_booked),
    ) as run:
        await run.end()
    assert run.booked == left


@pytest.mark.parametrize(
    ("workflow", "keys"), [(hazards.ChargedByRun, 2), (hazards.ChargedByTransaction, 1)], ids=["plain", "ours"]
)
async def test_a_second_run_of_a_workflow_charges_again_only_where_the_run_is_in_the_key(
    time_skipping_server: WorkflowEnvironment, workflow: type[Any], keys: int
) -> None:
    bank, queue = hazards.Bank(), f"hazard-{uuid4()}"

    async def is_charged(times: int) -> bool:
        return len(bank.charges) == times

    client = time_skipping_server.client
    async with Worker(
        client,
        task_queue=queue,
        workflows=[workflow],
        activities=[bank.charge],
        workflow_runner=UnsandboxedWorkflowRunner(),
        plugins=[SagaPlugin()],
    ):
        first = await client.start_workflow(workflow.run, Trip(queue), id=queue, task_queue=queue)
        await eventually_async(lambda: is_charged(1), "the first run charges")
        await first.terminate("by mistake")
        again = await client.start_workflow(
            workflow.run, Trip(queue), id=queue, task_queue=queue, start_signal="approve"
        )
        await again.result()
    assert len(bank.charges) == keys


async def test_a_call_without_a_bound_holds_what_is_booked_for_ever(time_skipping_server: WorkflowEnvironment) -> None:
    async with started(time_skipping_server, hazards.NoEndOfRetries, car_book=away) as run:
        await time_skipping_server.sleep(timedelta(hours=1))
        status = (await run.handle.describe()).status
    assert (status, run.booked) == (WorkflowExecutionStatus.RUNNING, ["flight"])


async def test_a_saga_gives_an_absent_service_up_before_its_deadline(time_skipping_server: WorkflowEnvironment) -> None:
    async with started(time_skipping_server, hazards.BoundedRetries, car_book=away) as run:
        await run.end()
    assert run.booked == []
