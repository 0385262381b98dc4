"""What the Web UI shows of a saga: summaries of its calls and timers, the parked calls, and how it ended."""

import re
from datetime import timedelta

import pytest
from temporalio import workflow
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from temporal_saga import CallKind, Retry, Saga, TransactionLog
from temporal_saga.calls import summary_of
from temporal_saga.visibility import SAGA_DECIDED_AT
from tests.eventually import eventually_async

from .harness import Handle, Harness
from .plan import PIVOT, STEPS, Booking
from .services import fail, refuse, working
from .short_trip import FINISH, POLICIES, UNDO, ShortTripWorkflow, decide, parked, record, until_tried
from .ways import APPROVAL, ApprovalOrElseWorkflow
from .workflows import Trip, served_here


@workflow.defn
class ToldTripWorkflow(ShortTripWorkflow):
    """A trip whose workflow names the command for a parked call."""

    @workflow.init
    def __init__(self, trip: Trip) -> None:
        self.saga = Saga(trip.transaction_id, policies=trip.policies, remedy=lambda call: f"mend {call.step}")

    @workflow.run
    async def run(self, trip: Trip) -> TransactionLog:
        async with self.saga as saga:
            await saga.step(served_here(STEPS[0].operation), Booking(trip.transaction_id))
            await saga.pivot(served_here(PIVOT), Booking(trip.transaction_id))
        return saga.log


async def events_of(handle: Handle) -> list[HistoryEvent]:
    return list((await handle.fetch_history()).events)


def summary(event: HistoryEvent) -> str:
    return event.user_metadata.summary.data.decode().strip('"')


def summaries(events: list[HistoryEvent], activity: str) -> list[str]:
    """The summary of each call of `activity`, in their order."""
    scheduled = [event for event in events if event.HasField("activity_task_scheduled_event_attributes")]
    names = [event.activity_task_scheduled_event_attributes.activity_type.name for event in scheduled]
    return [summary(event) for event, name in zip(scheduled, names, strict=True) if name == activity]


def timers(events: list[HistoryEvent]) -> list[str]:
    return [summary(event) for event in events if event.event_type == EventType.EVENT_TYPE_TIMER_STARTED]


async def details(handle: Handle) -> str:
    found = await handle.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
    return str(found.current_details)


def test_a_summary_names_what_an_undo_undoes_and_its_round() -> None:
    [undo, *_] = [step.undo for step in STEPS if step.undo is not None]
    assert summary_of(undo, CallKind.UNDO) == "undo of trip.open"
    assert summary_of(undo, CallKind.UNDO, rounds=3) == "undo of trip.open, round 3"
    assert summary_of(PIVOT, CallKind.PIVOT, name="decide") == "pivot, decide"
    assert summary_of(STEPS[0].operation, CallKind.STEP) is None


async def test_each_call_and_timer_of_a_parked_undo_has_its_summary(harness: Harness) -> None:
    handle = await parked(harness, UNDO, fail)
    await decide(handle, "retry", UNDO)
    await harness.end(handle)
    events = await events_of(handle)
    assert summaries(events, UNDO) == ["undo", "undo, round 2", "undo, round 3"]
    assert summaries(events, PIVOT.name) == ["pivot"]
    assert timers(events) == [f"{UNDO} parked: SERVICE_UNAVAILABLE"] * 2


async def test_the_timer_of_the_deadline_is_called_so(harness: Harness) -> None:
    handle = await harness.start(deadline=timedelta(hours=1))
    await harness.end(handle)
    assert timers(await events_of(handle)) == ["deadline"]


@pytest.mark.parametrize("call", [STEPS[0].name, FINISH])
async def test_the_timer_between_two_questions_to_a_service_that_is_still_working_says_so(
    harness: Harness, call: str
) -> None:
    harness.services.script(call, *working(1))
    handle = await harness.start()
    await harness.end(handle)
    assert timers(await events_of(handle)) == [f"{call} still working"]


async def test_the_timer_of_a_wait_has_its_name(harness: Harness) -> None:
    handle = await harness.start(ApprovalOrElseWorkflow)
    await harness.end(handle)
    assert timers(await events_of(handle)) == [APPROVAL]


async def test_current_details_say_what_is_parked_and_the_command_as_markdown(harness: Harness) -> None:
    handle = await parked(harness, FINISH, fail)
    told = await details(handle)
    head, before, call, between, *listed = told.split("\n")
    assert (head.startswith("**Parked.**"), before, between) == (True, "", "")
    moment = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ"
    assert re.fullmatch(rf"`{FINISH}` \(finish\) since {moment}:", call)
    assert listed[0].startswith("- `SERVICE_UNAVAILABLE: ")
    assert re.fullmatch(rf"- 1 attempt, next at {moment}", listed[1])
    command = f"temporal workflow update execute --workflow-id {handle.id} --name desk_retry --input '\"{FINISH}\"'"
    assert listed[2:] == [f"- `{command}`"]
    await decide(handle, "retry", FINISH)
    await until_tried(handle, 2)
    await decide(handle, "retry", FINISH)
    await harness.end(handle)
    assert await details(handle) == ""


async def test_the_workflow_names_the_command_for_a_parked_call(harness: Harness) -> None:
    harness.services.script(PIVOT.name, fail)
    handle = await harness.start(ToldTripWorkflow, policies=POLICIES)

    async def told() -> str:
        return await details(handle)

    assert f"`mend {PIVOT.name}`" in await eventually_async(told, "the pivot is parked", until=bool)
    await decide(handle, "retry", PIVOT.name)
    await harness.end(handle)


async def test_a_rolled_back_saga_is_no_failure_to_alert_on_and_has_no_cause_beside_its_log(harness: Harness) -> None:
    harness.services.script(PIVOT.name, then=refuse)
    handle = await harness.start(ShortTripWorkflow, policies=POLICIES)
    with pytest.raises(WorkflowFailureError) as ended:
        await handle.result()
    error = ended.value.cause
    assert isinstance(error, ApplicationError)
    assert error.category is ApplicationErrorCategory.BENIGN
    assert error.__cause__ is None
    assert len(error.details) == 1


async def test_a_retry_keeps_who_asked_for_it_and_why(harness: Harness) -> None:
    handle = await parked(harness, FINISH)
    await decide(handle, "retry", FINISH, Retry("ann", "the service is back"))
    await harness.end(handle)
    [decided] = (await record(handle, FINISH)).decisions
    assert (decided.decision, decided.actor, decided.reason) == ("retry", "ann", "the service is back")
    upserts = [event.upsert_workflow_search_attributes_event_attributes for event in await events_of(handle)]
    assert sum(SAGA_DECIDED_AT.name in each.search_attributes.indexed_fields for each in upserts) == 1
