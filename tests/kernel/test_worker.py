"""Workers that start and stop while a saga runs."""

import asyncio
import gc
import sys

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.update.v1 import UpdateRef
from temporalio.api.workflowservice.v1 import PollWorkflowExecutionUpdateRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode
from temporalio.testing import WorkflowEnvironment

from temporal_saga import Policies, State
from temporal_saga.outcome import CANCELLED
from tests.eventually import eventually_async

from . import expect
from .cancels import REASON, Cancel, by_temporal
from .harness import Handle, Harness, both_orders, real_server
from .plan import FINISHES, PAIRS, PIVOT, STEPS
from .policies import LONG_SETTLE
from .services import Effect, hang, refuse

FIRST = STEPS[0].name
_NAME = "cancel"
PLACES = ["museum.hold", PIVOT.name, FINISHES[0].name]


@pytest.fixture
async def server(embedded: str) -> WorkflowEnvironment:
    return await real_server(embedded)


@pytest.fixture
def dropped(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The errors of coroutines that Python drops, which it can raise nowhere."""
    found: list[str] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda drop: found.append(f"{drop.exc_value!r} in {drop.object!r}"))
    return found


@pytest.mark.parametrize("place", PLACES)
async def test_a_worker_that_goes_down_drops_its_sagas_in_silence(
    idle_harness: Harness, dropped: list[str], place: str
) -> None:
    """Python closes their coroutines at any time, perhaps while another workflow runs: they must not do anything."""
    async with idle_harness.worker():
        await idle_harness.stop_at(place)
    gc.collect()
    assert dropped == []


async def test_a_worker_that_goes_down_while_a_group_settles_drops_it_in_silence(
    idle_harness: Harness, dropped: list[str]
) -> None:
    failing, hanging = PAIRS[0]
    idle_harness.services.script(failing, then=refuse)
    idle_harness.services.script(hanging, then=hang)
    async with idle_harness.worker():
        handle = await idle_harness.start(policies=LONG_SETTLE)
        await idle_harness.until_known(handle, [failing])
    gc.collect()
    assert dropped == []


async def by_a_named_update(handle: Handle) -> None:
    await handle.execute_update("cancel_saga", REASON, id=_NAME)


@both_orders
@pytest.mark.parametrize("cancel", [by_temporal, by_a_named_update])
async def test_a_cancel_that_comes_together_with_a_reply_undoes_the_step(idle_harness: Harness, cancel: Cancel) -> None:
    idle_harness.max_cached_workflows = 0
    async with idle_harness.worker(workflows=False):
        async with idle_harness.worker(activities=False):
            handle, gate = await idle_harness.stop_at(FIRST)
        gate.open.set()
        await recorded(handle, EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED)
        request = asyncio.create_task(_as_coroutine(cancel, handle))  # an update is answered when a worker is back
        await (request if cancel is by_temporal else _admitted(idle_harness.server.client, handle))
        async with idle_harness.worker(activities=False):
            async with asyncio.timeout(20):
                await request
            end = await idle_harness.end(handle)
    expect.rolled_back(idle_harness, end, CANCELLED)


async def test_a_cancel_that_comes_before_a_worker_is_there_leaves_nothing(idle_harness: Harness) -> None:
    handle = await idle_harness.start(policies=Policies())
    await by_temporal(handle)
    async with idle_harness.worker():
        end = await idle_harness.end(handle)
    assert (end.code, end.log.state) == (CANCELLED, State.ROLLED_BACK)
    expect.nothing_is_open(end)
    assert not idle_harness.services.of(Effect.HELD) - {"mail.regrets"}


async def _as_coroutine(cancel: Cancel, handle: Handle) -> None:
    await cancel(handle)


async def _admitted(client: Client, handle: Handle) -> None:
    """Wait until the server knows of the update: without that, a worker may be back before it."""
    update = UpdateRef(workflow_execution=WorkflowExecution(workflow_id=handle.id), update_id=_NAME)
    request = PollWorkflowExecutionUpdateRequest(namespace=client.namespace, update_ref=update)

    async def admitted() -> bool:
        try:
            await client.workflow_service.poll_workflow_execution_update(request)
        except RPCError as error:
            assert error.status is RPCStatusCode.NOT_FOUND
            return False
        return True

    await eventually_async(admitted, "the server knows of the update", pause_s=0.02)


async def recorded(handle: Handle, kind: EventType.ValueType) -> None:
    async def kinds() -> list[EventType.ValueType]:
        return [event.event_type async for event in handle.fetch_history_events()]

    await eventually_async(kinds, f"the history has event {kind}", until=lambda seen: kind in seen, pause_s=0.02)
