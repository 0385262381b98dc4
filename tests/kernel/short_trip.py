"""A short trip with a call that does not get through, and what an operator sees and decides about it."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from temporalio import workflow
from temporalio.client import WorkflowUpdateFailedError

from temporal_saga import DESK_REFUSED, DeskRecord, Parked, Policies, Policy, Rounds, Saga, SagaWorkflow, TransactionLog
from tests.eventually import eventually_async
from tests.gate import Gate

from .harness import Handle, Harness
from .plan import FINISHES, PIVOT, STEPS, Booking
from .services import Behaviour, fail, refuse
from .workflows import Trip, served_here

ONE_ATTEMPT = Policy(attempt_timeout=timedelta(seconds=10), attempts=1, total=timedelta(seconds=10))
FIRST_PAUSE = timedelta(minutes=1)
POLICIES = Policies(undo=ONE_ATTEMPT, finish=ONE_ATTEMPT, rounds=Rounds(first_pause=FIRST_PAUSE))
UNDO = STEPS[0].undo.name if STEPS[0].undo is not None else ""
FINISH = FINISHES[0].name
_TIMEOUT_S = 20


@workflow.defn
class ShortTripWorkflow(SagaWorkflow):
    """One step, the pivot and one finish."""

    @workflow.init
    def __init__(self, trip: Trip) -> None:
        self.saga = Saga(trip.transaction_id, policies=trip.policies)

    @workflow.run
    async def run(self, trip: Trip) -> TransactionLog:
        booking, undo = Booking(trip.transaction_id), STEPS[0].undo
        assert undo is not None
        async with self.saga as saga:
            await saga.step(served_here(STEPS[0].operation), booking, undo=served_here(undo))
            await saga.pivot(served_here(PIVOT), booking)
            await saga.finish(served_here(FINISHES[0]), booking)
        return saga.log


async def parked(harness: Harness, step: str, *then: Behaviour) -> Handle:
    """Start a trip whose call of `step` fails a round; the next rounds behave like `then`, and all later ones work."""
    harness.services.script(step, fail, *then)
    if step == UNDO:
        harness.services.script(PIVOT.name, then=refuse)
    handle = await harness.start(ShortTripWorkflow, policies=POLICIES)
    await until_desk(handle, bool)
    return handle


async def being_tried(harness: Harness, step: str, gate: Gate, behaviour: Behaviour) -> Handle:
    """Start a trip whose parked call of `step` is tried again, and return when that waits at `gate`."""
    handle = await parked(harness, step, behaviour)
    await decide(handle, "retry", step)
    async with asyncio.timeout(_TIMEOUT_S):
        await gate.reached.wait()
    return handle


async def desk(handle: Handle) -> list[Parked]:
    found: list[Parked] = await handle.query("parked", result_type=list[Parked])
    return found


async def until_desk(handle: Handle, holds: Callable[[list[Parked]], object]) -> list[Parked]:
    return await eventually_async(lambda: desk(handle), "the desk changes", until=holds, pause_s=0.02)


async def until_tried(handle: Handle, attempts: int) -> list[Parked]:
    return await until_desk(handle, lambda now: now[0].attempts >= attempts and now[0].trying_since is None)


async def record(handle: Handle, step: str) -> DeskRecord:
    found: DeskRecord = await handle.query("desk_record", step, result_type=DeskRecord)
    return found


async def decide(handle: Handle, kind: str, *arguments: Any) -> None:
    await handle.execute_update(f"desk_{kind}", args=arguments)


async def refused(handle: Handle, kind: str, *arguments: Any) -> str:
    with pytest.raises(WorkflowUpdateFailedError) as no:
        await decide(handle, kind, *arguments)
    assert getattr(no.value.cause, "type", None) == DESK_REFUSED
    return str(no.value.cause)
