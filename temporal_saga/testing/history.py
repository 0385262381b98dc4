"""What a workflow's history says of the order of its calls, and of its timers."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent

_ENDS = {
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCELED,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TIMED_OUT,
}


@dataclass(frozen=True)
class Scheduled:
    """A call as the workflow scheduled it. The numbers are those of events; `known` is the last one that the workflow
    knew when it scheduled the call."""

    activity: str
    call: str
    event: int
    known: int
    at: datetime
    attempt_timeout: timedelta


@dataclass(frozen=True)
class Timer:
    """A timer that did not fire. `ended` is the event of its cancellation."""

    event: int
    known: int
    due: datetime
    ended: int | None


@dataclass
class History:
    """`calls` is in the order in which the workflow made them. `closed` has the event that ended each call."""

    began: datetime | None = None
    calls: list[Scheduled] = field(default_factory=list)
    closed: dict[str, int] = field(default_factory=dict)
    timers: list[Timer] = field(default_factory=list)
    failed_task: str = ""
    """The message of the last workflow task that failed."""
    given_up: set[str] = field(default_factory=set)
    """Calls that the workflow has cancelled."""
    has_ended: bool = False
    has_open_task: bool = False
    """A workflow task is scheduled or under way."""
    cancel_is_known: bool = False
    """A workflow task was completed since the workflow was last asked to cancel."""

    def precedes(self, one: str, other: str) -> bool:
        """Whether the workflow knew that call `one` had ended when it made call `other`."""
        known = next((call.known for call in self.calls if call.call == other), 0)
        return one in self.closed and self.closed[one] < known

    @property
    def open_calls(self) -> int:
        return len(self.calls) - len(self.closed)

    def deadline_during(self, call: Scheduled) -> Timer | None:
        """The first timer that ran all through `call`, and was stopped after it."""
        running = [t for t in self.timers if t.known <= call.known and (t.ended is None or t.ended > call.event)]
        return min(running, key=lambda timer: timer.due, default=None)


def read(events: Iterable[HistoryEvent]) -> History:
    history, starts, calls = History(), dict[int, int](), dict[int, str]()
    timers, fired = dict[int, Timer](), set[int]()
    asked_at = completed_at = 0
    for event in events:
        kind = event.event_type
        at = event.event_time.ToDatetime(tzinfo=UTC)
        history.began = history.began or at
        if kind == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED:
            starts[event.event_id] = event.workflow_task_completed_event_attributes.started_event_id
            completed_at = event.event_id
            history.has_open_task = False
        elif kind == EventType.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED:
            history.has_open_task = True
        elif kind == EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED:
            history.failed_task = event.workflow_task_failed_event_attributes.failure.message
        elif kind == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCEL_REQUESTED:
            asked_at = event.event_id
        elif kind == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
            made = event.activity_task_scheduled_event_attributes
            calls[event.event_id] = made.activity_id
            known = _known(made.workflow_task_completed_event_id, starts)
            timeout = made.start_to_close_timeout.ToTimedelta() or made.schedule_to_close_timeout.ToTimedelta()
            history.calls.append(
                Scheduled(made.activity_type.name, made.activity_id, event.event_id, known, at, timeout)
            )
        elif kind == EventType.EVENT_TYPE_ACTIVITY_TASK_CANCEL_REQUESTED:
            history.given_up.add(calls[event.activity_task_cancel_requested_event_attributes.scheduled_event_id])
        elif kind in _ENDS:
            history.has_ended = True
        elif (closed := _closes(event)) is not None:
            history.closed[calls[closed]] = event.event_id
        elif kind == EventType.EVENT_TYPE_TIMER_STARTED:
            timer = event.timer_started_event_attributes
            due = at + timer.start_to_fire_timeout.ToTimedelta()
            known = _known(timer.workflow_task_completed_event_id, starts)
            timers[event.event_id] = Timer(event.event_id, known, due, None)
        elif kind == EventType.EVENT_TYPE_TIMER_CANCELED:
            started = event.timer_canceled_event_attributes.started_event_id
            old = timers[started]
            timers[started] = Timer(old.event, old.known, old.due, event.event_id)
        elif kind == EventType.EVENT_TYPE_TIMER_FIRED:
            fired.add(event.timer_fired_event_attributes.started_event_id)
    history.timers = [timer for started, timer in timers.items() if started not in fired]
    history.cancel_is_known = 0 < asked_at < completed_at
    return history


def _closes(event: HistoryEvent) -> int | None:
    """The event that scheduled the call which `event` ends, if it ends one."""
    kind = event.event_type
    if kind == EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED:
        return event.activity_task_completed_event_attributes.scheduled_event_id
    if kind == EventType.EVENT_TYPE_ACTIVITY_TASK_FAILED:
        return event.activity_task_failed_event_attributes.scheduled_event_id
    if kind == EventType.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT:
        return event.activity_task_timed_out_event_attributes.scheduled_event_id
    if kind == EventType.EVENT_TYPE_ACTIVITY_TASK_CANCELED:
        return event.activity_task_canceled_event_attributes.scheduled_event_id
    return None


def _known(task: int, starts: dict[int, int]) -> int:
    """The last event that a workflow task knew: its start. The server that skips time names that one itself."""
    return starts.get(task, task)
