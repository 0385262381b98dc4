"""Temporal Cloud's actions: the published rules, on recorded histories of real orders and on made-up events."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import WorkflowHistory

from bench.actions import actions

HISTORIES = sorted((Path(__file__).parents[1] / "histories").glob("*.json"))
SCHEDULED, TASK_STARTED, COMPLETED = (
    EventType.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED,
    EventType.EVENT_TYPE_WORKFLOW_TASK_STARTED,
    EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED,
)
MARKER = EventType.EVENT_TYPE_MARKER_RECORDED


def history_of(*kinds: EventType.ValueType) -> list[HistoryEvent]:
    """Events in this order; a marker belongs to the workflow task that was completed last."""
    events: list[HistoryEvent] = []
    completed = 0
    for number, kind in enumerate(kinds, 1):
        event = HistoryEvent(event_id=number, event_type=kind)
        if kind == COMPLETED:
            completed = number
        if kind == MARKER:
            event.marker_recorded_event_attributes.workflow_task_completed_event_id = completed
        events.append(event)
    return events


@pytest.mark.parametrize("file", HISTORIES, ids=lambda file: file.stem)
def test_a_history_is_billed_for_start_attempts_timers_upserts_updates_signals_markers_and_children(file: Path) -> None:
    recorded = json.loads(file.read_text())
    kinds = Counter(event["eventType"].removeprefix("EVENT_TYPE_") for event in recorded["events"])
    attempts = sum(
        event["activityTaskStartedEventAttributes"].get("attempt", 1)
        for event in recorded["events"]
        if event["eventType"].endswith("ACTIVITY_TASK_STARTED")
    )
    tasks_with_markers = {
        event["markerRecordedEventAttributes"]["workflowTaskCompletedEventId"]
        for event in recorded["events"]
        if event["eventType"].endswith("MARKER_RECORDED")
    }
    wanted = (
        1
        + attempts
        + kinds["TIMER_STARTED"]
        + len([event for event in recorded["events"] if _is_upsert(event)])
        + kinds["WORKFLOW_EXECUTION_UPDATE_ACCEPTED"]
        + kinds["WORKFLOW_EXECUTION_SIGNALED"]
        + len(tasks_with_markers)
        + kinds["START_CHILD_WORKFLOW_EXECUTION_INITIATED"]
    )
    assert actions(WorkflowHistory.from_json(file.stem, recorded).events) == wanted


def _is_upsert(event: dict[str, Any]) -> bool:
    """Whether the event is an upsert of ours. The SDK adds one, which is free, for each patch of a workflow."""
    upserted = event.get("upsertWorkflowSearchAttributesEventAttributes")
    return upserted is not None and [*upserted["searchAttributes"]["indexedFields"]] != ["TemporalChangeVersion"]


def test_a_retried_activity_counts_each_attempt() -> None:
    [started] = history_of(EventType.EVENT_TYPE_ACTIVITY_TASK_STARTED)
    started.activity_task_started_event_attributes.attempt = 4
    assert actions([started]) == 4


def test_all_local_activities_of_a_workflow_task_are_one_action() -> None:
    assert actions(history_of(SCHEDULED, TASK_STARTED, COMPLETED, MARKER, MARKER, MARKER)) == 1
    two_tasks = (SCHEDULED, TASK_STARTED, COMPLETED, MARKER, EventType.EVENT_TYPE_TIMER_FIRED) * 2
    assert actions(history_of(*two_tasks)) == 2


def test_a_workflow_task_that_only_keeps_a_local_activity_alive_is_one_action() -> None:
    alive = (SCHEDULED, TASK_STARTED, COMPLETED)
    assert actions(history_of(*alive, *alive, MARKER)) == 2
    assert actions(history_of(*alive, MARKER, *alive, MARKER)) == 2


def test_a_workflow_task_after_something_happened_is_none() -> None:
    task = (SCHEDULED, TASK_STARTED, COMPLETED)
    assert actions(history_of(*task, EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED, *task)) == 0


def test_the_sdk_writing_down_its_version_is_free_and_an_upsert_is_not() -> None:
    [upsert] = history_of(EventType.EVENT_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES)
    fields = upsert.upsert_workflow_search_attributes_event_attributes.search_attributes.indexed_fields
    fields["TemporalChangeVersion"].data = b"[]"
    assert actions([upsert]) == 0
    fields["SagaState"].data = b'"PARKED"'
    assert actions([upsert]) == 1
