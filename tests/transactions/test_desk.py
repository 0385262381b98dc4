"""What an operator may send to the desk, and what happens to it while no worker runs."""

import asyncio
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from temporalio.client import WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError
from temporalio.testing import WorkflowEnvironment

from client import updates
from client.errors import NotAnswered
from contracts.order import WORKFLOWS_QUEUE
from temporal_saga import DESK_REFUSED, DeskRecord, Fix, State

from ..eventually import eventually_async
from .bank import Transfer, fail
from .harness import Handle, Harness, step, transfer
from .transfer import TransferWorkflow

PARKED = "bank.put_back"
TX = "t-desk"
TOO_MUCH = 5000
PUT_BACK = {"transaction_id": TX, "account": "ann", "amount_minor": 10}
WRONG: dict[str, tuple[Any, str]] = {
    "no object": ([PUT_BACK], "must be one of transaction t-desk"),
    "another transaction": (PUT_BACK | {"transaction_id": "t-other"}, "must be one of transaction t-desk"),
    "a field is missing": ({"transaction_id": TX, "account": "ann"}, "amount_minor"),
    "a field is of another type": (PUT_BACK | {"amount_minor": "ten"}, "amount_minor"),
    "a field that is not read": (PUT_BACK | {"amuont_minor": 20}, "amuont_minor: there is no such field"),
}


async def parked(harness: Harness, server: WorkflowEnvironment) -> Handle:
    """A transfer whose first half cannot be put back: its second half was refused."""
    harness.bank.balances["bob"] = 1000
    harness.bank.injected[PARKED].extend([fail] * 5)
    harness.bank.injected["bank.deposit"].append(_refuse)
    handle = await harness.client.start_workflow(
        TransferWorkflow.run, args=[Transfer(TX, "ann", 10), Transfer(TX, "bob", 10)], id=TX, task_queue=WORKFLOWS_QUEUE
    )
    await server.sleep(timedelta(seconds=7))
    await harness.until_parked(handle, PARKED)
    return handle


async def _refuse() -> None:
    raise ApplicationError("no", type="NO", non_retryable=True)


async def record(handle: Handle) -> DeskRecord:
    found: DeskRecord = await handle.query("desk_record", PARKED, result_type=DeskRecord)
    return found


@pytest.mark.parametrize(("request_", "why"), WRONG.values(), ids=WRONG.keys())
async def test_a_request_that_the_operation_cannot_take_is_refused_and_the_first_one_kept(
    harness: Harness, server: WorkflowEnvironment, request_: Any, why: str
) -> None:
    handle = await parked(harness, server)
    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await handle.execute_update("desk_fix", args=[PARKED, Fix(actor="ann", request=request_)])
    assert getattr(refused.value.cause, "type", None) == DESK_REFUSED
    assert why in str(refused.value.cause)
    assert "\n" not in str(refused.value.cause)
    assert (await record(handle)).decisions == ()
    log = await harness.end(handle)
    assert log.state is State.ROLLED_BACK
    assert harness.bank.balances == {"ann": 1000, "bob": 1000}


async def test_a_fix_sends_the_new_request_and_the_desk_keeps_the_first_one_and_the_decisions(
    harness: Harness, server: WorkflowEnvironment
) -> None:
    handle = await parked(harness, server)
    fixed = PUT_BACK | {"account": "carl"}
    await handle.execute_update("desk_fix", args=[PARKED, Fix(actor="ann", request=fixed)])
    await harness.end(handle)
    assert harness.bank.balances == {"ann": 990, "bob": 1000, "carl": 1000}, "the undo for carl took nothing back"
    kept = await record(handle)
    assert (kept.original, kept.request, kept.parked) == (PUT_BACK, fixed, None)
    assert [(each.decision, each.actor, each.request) for each in kept.decisions] == [("fix", "ann", fixed)]


@pytest.mark.long
async def test_a_decision_that_is_sent_twice_without_a_worker_is_taken_once(
    idle_realtime: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness, document = idle_realtime, transfer()
    document["steps"].append(step("more", "withdraw", "put_back", "carl", input={"amount_minor": TOO_MUCH}))
    harness.bank.injected[PARKED].extend([fail] * 5)
    async with harness.serving():
        handle = await harness.start(document)
        await harness.until_parked(handle, PARKED)
    with monkeypatch.context() as hasty:
        hasty.setattr(updates, "_UPDATE_TIMEOUT_S", 1)
        with pytest.raises(NotAnswered, match=r"asked; .* it is decided when one runs") as failed:
            await updates.update(harness.client, handle.id, "desk_retry", [PARKED])
    assert failed.value.code == "ASKED"
    again = asyncio.create_task(updates.update(harness.client, handle.id, "desk_retry", [PARKED]))
    await asyncio.sleep(0.5)  # so that it waits too
    async with harness.serving():
        await again  # it gets the answer to the first
        assert (await harness.end(handle)).state is State.ROLLED_BACK
        assert [each.decision for each in (await record(handle)).decisions] == ["retry"]


async def _tried(harness: Harness, handle: Handle, times: int) -> bool:
    return harness.bank.calls[PARKED] >= times or (await record(handle)).parked is None


async def test_a_decision_that_is_sent_again_later_is_another_one(
    harness: Harness, server: WorkflowEnvironment
) -> None:
    handle = await parked(harness, server)
    harness.bank.injected[PARKED].extend([fail] * 5)
    for tried in (6, 11):
        await updates.update(harness.client, handle.id, "desk_retry", [PARKED])
        await server.sleep(timedelta(seconds=1))
        await eventually_async(partial(_tried, harness, handle, tried), "the undo is tried again")
    assert len((await record(handle)).decisions) == 2
