"""What an operator may send to the desk, and what becomes of it while no worker runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client, WorkflowUpdateFailedError
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.exceptions import ApplicationError
from temporalio.testing import WorkflowEnvironment

from client import updates
from client.errors import NotAnswered
from contracts.order import WORKFLOWS_QUEUE
from runtime.embedded import embedded_server, free_port
from saga import DESK_REFUSED, DeskRecord, Fix, Parked, State

from .bank import Transfer, fail
from .branch import Branch, Handle, step, transfer
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


async def parked(branch: Branch, server: WorkflowEnvironment) -> Handle:
    """A transfer whose first half cannot be put back: its second half was refused."""
    branch.bank.balances["bob"] = 1000
    branch.bank.trouble[PARKED].extend([fail] * 5)
    branch.bank.trouble["bank.deposit"].append(_refuse)
    handle = await branch.client.start_workflow(
        TransferWorkflow.run,
        args=[Transfer(TX, "ann", 10), Transfer(TX, "bob", 10)],
        id=TX,
        task_queue=WORKFLOWS_QUEUE,
    )
    await server.sleep(timedelta(seconds=7))
    assert (await record(handle)).parked is not None
    return handle


async def _refuse() -> None:
    raise ApplicationError("no", type="NO", non_retryable=True)


async def record(handle: Handle) -> DeskRecord:
    found: DeskRecord = await handle.query("desk_record", PARKED, result_type=DeskRecord)
    return found


@pytest.mark.parametrize(("request_", "why"), WRONG.values(), ids=WRONG.keys())
async def test_a_request_that_the_operation_cannot_take_is_refused_and_the_first_one_kept(
    branch: Branch, server: WorkflowEnvironment, request_: Any, why: str
) -> None:
    handle = await parked(branch, server)
    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await handle.execute_update("desk_fix", args=[PARKED, Fix(actor="ann", request=request_)])
    assert getattr(refused.value.cause, "type", None) == DESK_REFUSED
    assert why in str(refused.value.cause)
    assert "\n" not in str(refused.value.cause)
    assert (await record(handle)).decisions == ()
    log = await branch.end(handle)
    assert log.state is State.ROLLED_BACK
    assert branch.bank.balances == {"ann": 1000, "bob": 1000}


async def test_a_fix_sends_the_new_request_and_the_desk_keeps_the_first_one_and_the_decisions(
    branch: Branch, server: WorkflowEnvironment
) -> None:
    handle = await parked(branch, server)
    fixed = PUT_BACK | {"account": "carl"}
    await handle.execute_update("desk_fix", args=[PARKED, Fix(actor="ann", request=fixed)])
    await branch.end(handle)
    assert branch.bank.balances == {"ann": 990, "bob": 1000, "carl": 1000}, "carl was asked about, who holds nothing"
    kept = await record(handle)
    assert (kept.original, kept.request, kept.parked) == (PUT_BACK, fixed, None)
    assert [(each.decision, each.actor, each.request) for each in kept.decisions] == [("fix", "ann", fixed)]


@pytest.fixture
async def closed_branch(tmp_path: Path) -> AsyncIterator[Branch]:
    """A bank on the real server, where the test opens and closes the workers."""
    async with embedded_server(port=free_port(), ui_port=free_port(), data=tmp_path) as running:
        yield Branch(await Client.connect(running.address, data_converter=pydantic_data_converter))


async def test_a_decision_that_is_sent_twice_without_a_worker_is_asked_for_and_taken_once(
    closed_branch: Branch, monkeypatch: pytest.MonkeyPatch
) -> None:
    branch, document = closed_branch, transfer(transaction_id=TX)
    document["steps"].append(step("more", "withdraw", "put_back", "carl", input={"amount_minor": TOO_MUCH}))
    branch.bank.trouble[PARKED].extend([fail] * 5)
    async with branch.open():
        handle = await branch.start(document)
        while await handle.query("parked", result_type=list[Parked]) == []:
            await asyncio.sleep(0.1)
    with monkeypatch.context() as hasty:
        hasty.setattr(updates, "_UPDATE_TIMEOUT_S", 1)
        with pytest.raises(NotAnswered, match=r"asked; .* it is decided when one runs") as failed:
            await updates.update(branch.client, handle.id, "desk_retry", [PARKED])
    assert failed.value.code == "ASKED"
    again = asyncio.create_task(updates.update(branch.client, handle.id, "desk_retry", [PARKED]))
    await asyncio.sleep(0.5)  # until it waits too
    async with branch.open():
        await again  # the answer to the first
        assert (await branch.end(handle)).state is State.ROLLED_BACK
        assert [each.decision for each in (await record(handle)).decisions] == ["retry"]


async def test_a_question_that_is_repeated_later_is_asked_anew(branch: Branch, server: WorkflowEnvironment) -> None:
    handle = await parked(branch, server)
    branch.bank.trouble[PARKED].extend([fail] * 5)
    for tried in (6, 11):
        await updates.update(branch.client, handle.id, "desk_retry", [PARKED])
        await server.sleep(timedelta(seconds=1))
        async with asyncio.timeout(20):
            while branch.bank.calls[PARKED] < tried and (await record(handle)).parked is not None:
                await asyncio.sleep(0.05)
    assert len((await record(handle)).decisions) == 2
