"""A saga calls plain activities: it needs no declaration of what an activity knows already."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import pytest
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import ApplicationError
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from temporal_saga import CallKind, Operation, Plan, SagaPlugin

from .agency import Agency, Booked, PlainTripWorkflow, body, confirm
from .how_to import Services


async def end_of(server: WorkflowEnvironment, agency: Agency) -> Any:
    """The result of a trip on the sandbox that everyone has by default."""
    queue = f"activities-{uuid4()}"
    async with Worker(
        server.client,
        task_queue=queue,
        workflows=[PlainTripWorkflow],
        activities=agency.served(),
        plugins=[SagaPlugin()],
    ):
        return await server.client.execute_workflow(PlainTripWorkflow.run, "rome", id=queue, task_queue=queue)


async def test_steps_finishes_and_the_pivot_are_plain_activities_on_the_workflows_own_queue(
    server: WorkflowEnvironment,
) -> None:
    agency = Agency()
    assert await end_of(server, agency) == "ticket of rome, book_flight"
    assert agency.calls == ["book_flight", "hotel.book"]


async def test_plain_activities_are_undone_in_reverse(server: WorkflowEnvironment) -> None:
    agency = Agency(full="hotel.book")
    with pytest.raises(WorkflowFailureError) as failed:
        await end_of(server, agency)
    cause = failed.value.cause
    assert isinstance(cause, ApplicationError)
    assert cause.type == "FULL"
    log = cause.details[0]
    assert [step["step"] for step in log["steps"]] == ["book_flight", "hotel.book", "cancel_flight", "tell"]
    assert agency.calls == ["book_flight", "cancel_flight"]


def test_a_plan_follows_a_body_of_plain_activities() -> None:
    plan = Plan()
    plan.follow(body(plan, "rome"))
    called = [(call.kind, call.operation.name) for stage in plan.stages for call in stage.calls]
    assert called == [
        (CallKind.STEP, "book_flight"),
        (CallKind.STEP, "hotel.book"),
        (CallKind.PIVOT, "confirm"),
        (CallKind.FINISH, "ticket"),
        (CallKind.BEST_EFFORT, "tell"),
    ]
    assert [undo.name for undo, _ in plan.undos] == ["cancel_flight", "hotel.cancel"]


def test_a_declaration_is_made_from_the_name_and_types_of_an_activity() -> None:
    assert Operation.of(Agency.book_hotel, queue="hotels") == Operation("hotel.book", str, Booked, "hotels")
    assert Operation.of(confirm) == Operation("confirm", str, str)


@pytest.mark.parametrize("call", [print, "hotel.book"])
def test_what_is_no_activity_is_refused_with_its_name(call: Callable[[str], Awaitable[None]]) -> None:
    with pytest.raises(TypeError, match=r"is no activity with a name: it needs @activity\.defn"):
        Operation.of(call)


def test_an_activity_with_two_arguments_can_only_be_an_undo_which_takes_the_reply_of_its_step() -> None:
    assert Operation.undo_of(Services.cancel_courier) == Operation("cancel_courier", str, type(None), takes_reply=True)
    assert not Operation.undo_of(Services.withdraw).takes_reply
    with pytest.raises(TypeError, match="cancel_courier takes two arguments: only an undo"):
        Operation.of(Services.cancel_courier)  # type: ignore[arg-type]  # what a type checker says first
