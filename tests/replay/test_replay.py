"""Histories that the product has written replay: a running saga survives the next deployment."""

from collections import defaultdict
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from temporalio import workflow
from temporalio.client import WorkflowHistory
from temporalio.worker._workflow_instance import _WorkflowInstanceImpl, _WorkflowLogicFlag
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from contracts.errors import Code
from temporal_saga import State
from workflows.sweep import SweepWorkflow

from ..tools import record
from . import histories
from .batch_scenes import BATCH_SCENES, BatchScene, check_batch
from .histories import ALL_WORKFLOWS, OTHERS, replayer
from .incompatible import AsksTheClock, SleepsFirst
from .other_scenes import check_other, file_of
from .scenes import SCENES, Scene

every_scene = pytest.mark.parametrize("scene", SCENES, ids=[scene.order_id for scene in SCENES])
every_batch = pytest.mark.parametrize("scene", BATCH_SCENES, ids=[scene.name for scene in BATCH_SCENES])
every_other = pytest.mark.parametrize("workflow_id", OTHERS)
ENDS_NO_ORDER = {
    Code.UNREADABLE_REPLY,  # of another build: tests/kernel/test_unreadable.py replays it
    # codes of a parked call, which stays parked until it is done, skipped or fixed
    Code.IDEMPOTENCY_CONFLICT,
    Code.STEP_UNDONE,
    Code.NOTHING_TO_ACT_ON,
    Code.INVALID_REQUEST,
    # answers to a client; the order continues, or was never started
    Code.INVALID_ORDER,
    Code.DUPLICATE_ORDER,
    Code.UNKNOWN_ORDER,
    Code.CANCEL_REFUSED,
    Code.DESK_REFUSED,
    Code.UNREADABLE,
    Code.ASKED,
    Code.ALREADY_ENDED,
    Code.PAUSED,
    Code.CLOSED_FROM_OUTSIDE,
    Code.FORGOTTEN,
    Code.USAGE,
    Code.INTERRUPTED,
    Code.RETIRED,
    Code.NOT_CLEAN,
    Code.OPEN_ORDERS,
    Code.UNKNOWN_CUSTOMER,
    Code.UNREACHABLE,
    # codes of a generic transaction
    Code.INVALID_TRANSACTION,
    Code.DUPLICATE_TRANSACTION,
    Code.LANE_FULL,
    Code.LANE_HELD,
}


IN_THE_SANDBOX = SandboxedWorkflowRunner(
    restrictions=SandboxRestrictions.default.with_passthrough_modules(
        "pydantic", "pydantic_core", "annotated_types", "typing_extensions"
    )
)
"""All modules of this project are inside, the kernel too: code that reads the clock, chance or a file fails there."""


def test_every_end_and_every_code_has_a_recorded_history() -> None:
    assert {scene.state for scene in SCENES} == {state for state in State if state.is_end}
    assert {scene.code for scene in SCENES if scene.code} == set(Code) - ENDS_NO_ORDER
    recorded = {scene.order_id for scene in SCENES} | {scene.name for scene in BATCH_SCENES} | {*map(file_of, OTHERS)}
    assert {name for name in histories.names() if "/" not in name} == recorded, (
        "`make record KEEP=before-…` records, and keeps those so far"
    )


@every_scene
def test_a_recorded_history_shows_what_its_scene_says(scene: Scene) -> None:
    histories.check(histories.read(scene.order_id), scene)


@every_batch
def test_a_recorded_batch_shows_what_its_scene_says(scene: BatchScene) -> None:
    check_batch(histories.read(scene.name), scene)


@every_other
def test_every_other_recorded_workflow_shows_its_end(workflow_id: str) -> None:
    check_other(histories.read(file_of(workflow_id)), OTHERS[workflow_id])


@pytest.mark.parametrize("name", histories.names())
async def test_a_recorded_history_replays(name: str) -> None:
    await replayer(ALL_WORKFLOWS).replay_workflow(histories.read(name))


def test_the_histories_from_before_a_change_are_kept_beside_the_new_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(histories, "HISTORIES", tmp_path)
    for folder in ("before-gifts", "before-loyalty"):
        (tmp_path / "demo-down.json").write_text(folder)
        record.keep(folder)
    (tmp_path / "demo-down.json").touch()
    assert histories.names() == ["before-gifts/demo-down", "before-loyalty/demo-down", "demo-down"]
    assert (tmp_path / "before-gifts/demo-down.json").read_text() == "before-gifts"
    with pytest.raises(FileExistsError):
        record.keep("before-gifts")


def test_every_workflow_has_a_recorded_history() -> None:
    started = [history.events[0].workflow_execution_started_event_attributes for history in histories.recorded()]
    assert {each.workflow_type.name for each in started} == {workflow.__name__ for workflow in ALL_WORKFLOWS} - {
        SweepWorkflow.__name__
    }


async def test_a_history_of_every_kind_replays_in_the_sandbox_too() -> None:
    """A sandbox imports the whole project anew for each workflow, so one history of each kind is replayed."""
    kinds = {_kind_of(history): history for history in histories.recorded()}

    async def one_of_each() -> AsyncIterator[WorkflowHistory]:
        for history in kinds.values():
            yield history

    await replayer(ALL_WORKFLOWS, IN_THE_SANDBOX).replay_workflows(one_of_each())


def _kind_of(history: WorkflowHistory) -> tuple[str, int, bool]:
    """The workflow's type, the event that closed it, and whether an update reached it."""
    started, closed = history.events[0].workflow_execution_started_event_attributes, history.events[-1]
    updated = any(event.HasField("workflow_execution_update_accepted_event_attributes") for event in history.events)
    return started.workflow_type.name, closed.event_type, updated


@pytest.mark.long  # as in the tests that are `both_orders`
async def test_every_recorded_history_replays_under_the_other_order_of_jobs_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """temporalio 1.36.0 writes flag 2 into the histories that it starts. No decision of ours depends on it, that is, on
    whether the jobs of a workflow task are applied in phases or all before the workflow's code runs."""
    answers = defaultdict[_WorkflowInstanceImpl, list[bool]](list)
    look = _WorkflowInstanceImpl._workflow_logic_flag_enabled

    def noted(instance: _WorkflowInstanceImpl, flag: _WorkflowLogicFlag) -> bool:
        answers[instance].append(look(instance, flag))
        return answers[instance][-1]

    monkeypatch.setattr(_WorkflowInstanceImpl, "_workflow_logic_flag_enabled", noted)
    for history in histories.recorded():
        first = next(e for e in history.events if e.HasField("workflow_task_completed_event_attributes"))
        metadata = first.workflow_task_completed_event_attributes.sdk_metadata
        metadata.lang_used_flags.append(_WorkflowLogicFlag.PROCESS_WORKFLOW_ACTIVATION_JOBS_AS_SINGLE_BATCH)
        await replayer(ALL_WORKFLOWS).replay_workflow(history)
    asked = [flag for each in answers.values() for flag in each[:-1]]  # the last is about its eviction
    assert set(asked) == {True}, "the other order was not tried"


async def test_what_only_the_sandbox_sees_is_caught_there() -> None:
    await replayer([AsksTheClock]).replay_workflow(histories.read("demo-confirmed"))
    with pytest.raises(RuntimeError, match=r"Cannot access datetime\.datetime\.now"):
        await replayer([AsksTheClock], IN_THE_SANDBOX).replay_workflow(histories.read("demo-confirmed"))


async def test_an_incompatible_change_is_caught() -> None:
    with pytest.raises(workflow.NondeterminismError):
        await replayer([SleepsFirst]).replay_workflow(histories.read("demo-confirmed"))
