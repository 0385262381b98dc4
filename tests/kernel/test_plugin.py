"""The plugin of every worker of sagas, and a namespace that lacks their search attributes."""

import asyncio
import json
import logging
from typing import Any
from uuid import uuid4

import pytest
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.worker import Replayer, Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from temporal_saga import SagaPlugin, missing_search_attributes, register_search_attributes, visibility
from temporal_saga.visibility import SAGA_STATE

from .agency import Agency, PlainTripWorkflow

pytestmark = pytest.mark.processes
_TIMEOUT_S = 20
"""Real time for one saga: a hundred times what it takes."""


async def rolled_back(client: Client, *, plugins: tuple[SagaPlugin, ...] = (SagaPlugin(),)) -> WorkflowHandle[Any, Any]:
    """A trip that has been rolled back, because its hotel is full."""
    queue = f"plugin-{uuid4()}"
    async with Worker(
        client,
        task_queue=queue,
        workflows=[PlainTripWorkflow],
        activities=Agency(full="hotel.book").served(),
        plugins=plugins,
    ):
        handle = await client.start_workflow(PlainTripWorkflow.run, "rome", id=queue, task_queue=queue)
        async with asyncio.timeout(_TIMEOUT_S):
            with pytest.raises(WorkflowFailureError):
                await handle.result()
    return handle


async def states_written(handle: WorkflowHandle[Any, Any]) -> list[str]:
    events = (await handle.fetch_history()).events
    upserted = [each.upsert_workflow_search_attributes_event_attributes.search_attributes for each in events]
    return [
        json.loads(each.indexed_fields[SAGA_STATE.name].data)
        for each in upserted
        if SAGA_STATE.name in each.indexed_fields
    ]


async def test_a_saga_ends_in_a_namespace_without_search_attributes_and_the_log_says_how_to_get_them(
    bare_namespace: Client, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "temporal_saga"):
        handle = await rolled_back(bare_namespace)
    assert await states_written(handle) == []
    [said] = [record.getMessage() for record in caplog.records if record.name.startswith("temporal_saga")]
    assert "SagaState, SagaErrorCode, SagaParkedSince, SagaOrder, SagaDecidedAt" in said
    assert "python -m temporal_saga register" in said


async def test_a_saga_writes_its_state_once_they_are_registered(bare_namespace: Client) -> None:
    await register_search_attributes(bare_namespace)
    assert await missing_search_attributes(bare_namespace) == []
    await register_search_attributes(bare_namespace)  # once more changes nothing
    handle = await rolled_back(bare_namespace)
    assert await states_written(handle) == ["COMPENSATING", "ROLLED_BACK"]


async def test_a_saga_ends_on_a_worker_without_the_plugin_and_writes_no_attribute(bare_namespace: Client) -> None:
    handle = await rolled_back(bare_namespace, plugins=())
    assert await states_written(handle) == []


@pytest.mark.parametrize("registered", [True, False], ids=["written", "left out"])
async def test_a_replay_leaves_out_what_was_left_out_whatever_it_knows_of_the_namespace(
    bare_namespace: Client, *, registered: bool
) -> None:
    if registered:
        await register_search_attributes(bare_namespace)
    history = await (await rolled_back(bare_namespace)).fetch_history()
    for known in (set(), {bare_namespace.namespace}):
        visibility._complete.clear()
        visibility._complete.update(known)
        replayer = Replayer(workflows=[PlainTripWorkflow], namespace=bare_namespace.namespace, plugins=[SagaPlugin()])
        await replayer.replay_workflow(history)


def test_the_plugin_passes_the_package_through_the_sandbox_and_keeps_another_runner() -> None:
    sandboxed = SagaPlugin().configure_replayer({"workflow_runner": SandboxedWorkflowRunner()})["workflow_runner"]
    assert isinstance(sandboxed, SandboxedWorkflowRunner)
    assert "temporal_saga" in sandboxed.restrictions.passthrough_modules
