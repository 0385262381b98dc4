"""The example of docs/library/how-to.md does what the page says."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from temporalio.client import WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Replayer, Worker

from temporal_saga import WAIT_TIMEOUT, MoveDeadline, SagaPlugin, State, TransactionLog

from .how_to import (
    ColocatedParcelWorkflow,
    DeclaredParcelWorkflow,
    ListedParcelWorkflow,
    ParcelWorkflow,
    Services,
    UnattendedParcelWorkflow,
    UndeclaredParcelWorkflow,
)

PARCEL = "a clock"
Handle = WorkflowHandle[ParcelWorkflow, TransactionLog]


@asynccontextmanager
async def sent(
    server: WorkflowEnvironment, services: Services, workflow: type[Any] = ParcelWorkflow
) -> AsyncIterator[Handle]:
    """Start a parcel, on the sandbox that everyone has by default."""
    queue = f"parcels-{uuid4()}"
    async with Worker(
        server.client, task_queue=queue, workflows=[workflow], activities=services.served(), plugins=[SagaPlugin()]
    ):
        yield await server.client.start_workflow(workflow.run, PARCEL, id=queue, task_queue=queue)


async def test_an_approved_parcel_goes_through_customs_that_need_half_an_hour(server: WorkflowEnvironment) -> None:
    services = Services(questions=3)
    async with sent(server, services) as handle:
        await handle.execute_update(ParcelWorkflow.approve, "ann")
        log = await handle.result()
    assert log.state is State.CONFIRMED
    assert services.calls[PARCEL] == ["pack", "book_courier", *["declare"] * 4, "send"]


async def test_a_parcel_that_customs_keep_for_too_long_goes_by_post(server: WorkflowEnvironment) -> None:
    """The undo of the courier knows the booking from the reply."""
    services = Services(questions=100)
    async with sent(server, services) as handle:
        await handle.execute_update(ParcelWorkflow.approve, "ann")
        log = await handle.result()
    assert log.state is State.CONFIRMED
    assert services.calls[PARCEL] == [
        "pack",
        "book_courier",
        *["declare"] * 6,
        "withdraw",
        "cancel_courier 1",
        "post",
        "send",
    ]


async def test_a_parcel_that_nobody_approves_is_unpacked(server: WorkflowEnvironment) -> None:
    services = Services()
    async with sent(server, services) as handle:
        with pytest.raises(WorkflowFailureError) as failed:
            await handle.result()
    assert isinstance(failed.value.cause, ApplicationError)
    assert failed.value.cause.type == WAIT_TIMEOUT
    assert services.calls[PARCEL] == ["pack", "unpack"]


async def test_a_workflow_may_branch_where_nobody_approves(server: WorkflowEnvironment) -> None:
    services = Services()
    async with sent(server, services, UnattendedParcelWorkflow) as handle:
        assert (await handle.result()).state is State.CONFIRMED
    assert services.calls[PARCEL] == ["unpack"]


async def test_the_deadline_of_a_parcel_is_moved(server: WorkflowEnvironment) -> None:
    async with sent(server, Services()) as handle:
        until = await server.get_current_time() + timedelta(days=9)
        moved = MoveDeadline(actor="ann", reason="strike of the couriers", until=until)
        await handle.execute_update(ParcelWorkflow.move_deadline, moved)
        await handle.execute_update(ParcelWorkflow.approve, "ann")
        [kept] = (await handle.result()).moved_deadlines
    assert (kept.actor, kept.reason, kept.until) == (moved.actor, moved.reason, moved.until)


@pytest.mark.parametrize("workflow", [ListedParcelWorkflow, ColocatedParcelWorkflow])
async def test_a_list_of_steps_and_a_colocated_saga_make_the_same_calls(
    server: WorkflowEnvironment, workflow: type[Any]
) -> None:
    services = Services()
    async with sent(server, services, workflow) as handle:
        assert (await handle.result()).state is State.CONFIRMED
    assert services.calls[PARCEL] == ["pack", "book_courier", "send"]


async def test_a_new_build_adds_a_step_and_replays_the_saga_of_the_old_one(server: WorkflowEnvironment) -> None:
    services = Services()
    async with sent(server, services, UndeclaredParcelWorkflow) as old:
        await old.result()
    async with sent(server, services, DeclaredParcelWorkflow) as new:
        await new.result()
    assert services.calls[PARCEL] == ["pack", "send", "pack", "declare", "send"]
    replayer = Replayer(workflows=[DeclaredParcelWorkflow], plugins=[SagaPlugin()])
    await replayer.replay_workflow(await old.fetch_history())
