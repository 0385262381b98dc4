"""Temporal Cloud's actions, counted in a history by the published rules.

| counts one action | seen in the history as |
|---|---|
| a workflow started (by a client, as a child, by continue-as-new) | WorkflowExecutionStarted |
| an intent to start a child workflow | StartChildWorkflowExecutionInitiated |
| an activity started or retried | ActivityTaskStarted, as often as its `attempt` says |
| all markers of one workflow task together: local activities, side effects | MarkerRecorded, by workflow task |
| a workflow task that only kept local activities alive (heartbeat) | WorkflowTaskCompleted, then Scheduled at once |
| a timer started | TimerStarted |
| search attributes upserted, in one command | UpsertWorkflowSearchAttributes; not for TemporalChangeVersion |
| a signal received | WorkflowExecutionSignaled |
| an update accepted | WorkflowExecutionUpdateAccepted |
| execution options changed | WorkflowExecutionOptionsUpdated |
| a Nexus operation scheduled, or asked to be cancelled | NexusOperationScheduled, NexusOperationCancelRequested |

Queries, rejected updates and activity heartbeats count too and leave no event: the orders measured here use none.
A first workflow task always has its markers counted; a heartbeat with markers is one action, not two.
Source: https://docs.temporal.io/evaluate/cloud/actions
"""

from collections.abc import Sequence

from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent

_ONE = {
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED,
    EventType.EVENT_TYPE_START_CHILD_WORKFLOW_EXECUTION_INITIATED,
    EventType.EVENT_TYPE_TIMER_STARTED,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_OPTIONS_UPDATED,
    EventType.EVENT_TYPE_NEXUS_OPERATION_SCHEDULED,
    EventType.EVENT_TYPE_NEXUS_OPERATION_CANCEL_REQUESTED,
}
_NOT_BILLED = {"TemporalChangeVersion"}


def actions(history: Sequence[HistoryEvent]) -> int:
    """What this run of a workflow would be billed."""
    counted = sum(_of(event) for event in history)
    with_markers = {
        event.marker_recorded_event_attributes.workflow_task_completed_event_id
        for event in history
        if event.event_type == EventType.EVENT_TYPE_MARKER_RECORDED
    }
    return counted + len(with_markers | _heartbeats(history))


def _of(event: HistoryEvent) -> int:
    if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_STARTED:
        return event.activity_task_started_event_attributes.attempt
    if event.event_type == EventType.EVENT_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES:
        upserted = event.upsert_workflow_search_attributes_event_attributes.search_attributes.indexed_fields
        return int(not set(upserted) <= _NOT_BILLED)
    return int(event.event_type in _ONE)


def _heartbeats(history: Sequence[HistoryEvent]) -> set[int]:
    """Workflow tasks that asked for the next one at once: of a workflow with local activities, whose markers tell. In
    any other, an update has come while the task ran."""
    completed, scheduled = EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED, EventType.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED
    last_completed = 0
    found = set[int]()
    if not any(event.event_type == EventType.EVENT_TYPE_MARKER_RECORDED for event in history):
        return found
    for event in history:
        if event.event_type == completed:
            last_completed = event.event_id
        elif event.event_type == scheduled and last_completed:
            found.add(last_completed)
        elif event.event_type != EventType.EVENT_TYPE_MARKER_RECORDED:
            last_completed = 0
    return found
