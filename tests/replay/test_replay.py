"""Histories that production code wrote still replay: a running saga survives the next deployment."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from temporalio import workflow
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer

from cli.demo import SCENES
from contracts.order import transaction_id
from runtime import connection
from runtime.settings import Settings
from worker import WORKFLOWS, workflow_runner

from .incompatible import SleepsFirst

HISTORIES = Path(__file__).parents[1] / "histories"


def _history(name: str) -> WorkflowHistory:
    return WorkflowHistory.from_json(transaction_id(name), (HISTORIES / f"{name}.json").read_text())


def _replayer(workflows: Sequence[type]) -> Replayer:
    converter = connection.data_converter(Settings())
    return Replayer(workflows=workflows, workflow_runner=workflow_runner(), data_converter=converter)


def test_every_end_has_a_recorded_history() -> None:
    assert {path.stem for path in HISTORIES.glob("*.json")} == {scene.order_id for scene in SCENES}


@pytest.mark.parametrize("name", [scene.order_id for scene in SCENES])
async def test_a_recorded_history_replays(name: str) -> None:
    await _replayer(WORKFLOWS).replay_workflow(_history(name))


async def test_an_incompatible_change_is_caught() -> None:
    with pytest.raises(workflow.NondeterminismError):
        await _replayer([SleepsFirst]).replay_workflow(_history("demo-confirmed"))
