"""The recorded histories: where they are, what each must show, and what replays them."""

import json
from collections.abc import Sequence
from pathlib import Path

from pydantic import TypeAdapter
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer, WorkflowRunner

from composition.workers import WORKFLOW_RUNNER, WORKFLOWS
from runtime import connection
from runtime.settings import Settings
from temporal_saga import TransactionLog
from workflows.participant import ParticipantWorkflow

from .other_scenes import OTHER_SCENES
from .scenes import Scene

HISTORIES = Path(__file__).parents[1] / "histories"
ALL_WORKFLOWS = [*WORKFLOWS, ParticipantWorkflow]
OTHERS = {workflow: state for scene in OTHER_SCENES for workflow, state in scene.ends.items()}
_LOG = TypeAdapter(TransactionLog)


def replayer(workflows: Sequence[type], runner: WorkflowRunner | None = None) -> Replayer:
    converter = connection.data_converter(Settings())
    return Replayer(workflows=workflows, workflow_runner=runner or WORKFLOW_RUNNER, data_converter=converter)


def names() -> list[str]:
    """The names of all histories. Those in a folder were kept when the process changed: `before-loyalty/demo-down`."""
    return sorted(str(path.relative_to(HISTORIES).with_suffix("")) for path in HISTORIES.rglob("*.json"))


def recorded() -> list[WorkflowHistory]:
    """Read every history."""
    return [read(name) for name in names()]


def read(name: str) -> WorkflowHistory:
    document = json.loads((HISTORIES / f"{name}.json").read_text())
    workflow_id = document["events"][0]["workflowExecutionStartedEventAttributes"]["workflowId"]
    return WorkflowHistory.from_json(workflow_id, document)


def check(history: WorkflowHistory, scene: Scene) -> None:
    """Fail unless `history` has the end, the steps, the parked calls and the accepted updates of `scene`."""
    log = _log_of(history.events[-1])
    assert (log.state, log.error and log.error.code) == (scene.state, scene.code), scene.order_id
    statuses = {entry.step: entry.status for entry in log.steps}
    assert {step: statuses.get(step) for step in scene.steps} == dict(scene.steps), scene.order_id
    assert tuple(entry.step for entry in log.steps if entry.parked_since) == scene.parked, scene.order_id
    assert tuple(_updates(history)) == scene.updates, scene.order_id


def _log_of(last: HistoryEvent) -> TransactionLog:
    """The transaction log in the workflow's result, or in the detail of its failure."""
    if last.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED:
        [result] = last.workflow_execution_completed_event_attributes.result.payloads
        return _LOG.validate_python(json.loads(result.data))
    failure = last.workflow_execution_failed_event_attributes.failure
    [log] = failure.application_failure_info.details.payloads
    return _LOG.validate_python(json.loads(log.data))


def _updates(history: WorkflowHistory) -> list[str]:
    accepted = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED
    taken = [e.workflow_execution_update_accepted_event_attributes for e in history.events if e.event_type == accepted]
    return [update.accepted_request.input.name for update in taken]
