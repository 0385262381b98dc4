"""A transaction given as data, on a server that skips time: money is moved, or it is where it was."""

from __future__ import annotations

from datetime import timedelta

import pytest
from temporalio.client import WorkflowUpdateFailedError
from temporalio.testing import WorkflowEnvironment

from contracts.order import WORKFLOWS_QUEUE
from saga import CallKind, Fix, Parked, Skip, State, Status

from .bank import BROKE, Transfer, fail, hang
from .branch import Branch, step, transfer
from .transfer import TransferWorkflow

TOO_MUCH = {"input": {"amount_minor": 5000}}
BROKEN = [step("out", "withdraw", "put_back"), step("more", "withdraw", "put_back", "carl", **TOO_MUCH)]
SHORT = {"timeout_s": 2}
"""For what hangs: the clock of the server does not skip the time of an activity that runs."""


async def test_the_steps_run_in_order_and_the_money_is_moved(branch: Branch) -> None:
    log = await branch.run(transfer())
    assert (log.state, log.error) == (State.CONFIRMED, None)
    assert [(e.name, e.step, e.status) for e in log.steps] == [
        ("out", "bank.withdraw", Status.DONE),
        ("in", "bank.deposit", Status.DONE),
    ]
    assert branch.bank.balances == {"ann": 990, "bob": 1010}


async def test_a_refused_step_rolls_back_those_before_it_in_reverse_and_is_named(branch: Branch) -> None:
    steps = [*transfer()["steps"], step("more", "withdraw", "put_back", "carl", **TOO_MUCH)]
    log = await branch.run(transfer(steps=steps))
    assert log.state is State.ROLLED_BACK
    assert log.error is not None
    assert (log.error.code, log.error.message) == (BROKE, "step more: not enough money")
    assert [e.step for e in log.steps if e.kind is CallKind.UNDO] == ["bank.take_back", "bank.put_back"]
    assert branch.bank.balances == {"ann": 1000, "bob": 1000, "carl": 1000}


async def test_a_rollback_that_succeeds_on_its_fiftieth_attempt_ends_rolled_back(branch: Branch) -> None:
    branch.bank.trouble["bank.put_back"].extend([fail] * 49)
    log = await branch.run(transfer(steps=BROKEN))
    assert log.state is State.ROLLED_BACK
    assert branch.bank.calls["bank.put_back"] == 50
    [undo] = [e for e in log.steps if e.kind is CallKind.UNDO]
    assert undo.status is Status.DONE
    assert branch.bank.balances == {"ann": 1000, "carl": 1000}


async def test_a_step_over_its_timeout_is_rolled_back_and_not_tried_again(branch: Branch) -> None:
    branch.bank.trouble["bank.deposit"].append(hang)
    log = await branch.run(transfer(steps=[each | SHORT for each in transfer()["steps"]]))
    assert log.state is State.ROLLED_BACK
    assert log.error is not None
    assert (log.error.code, log.error.step) == ("STEP_TIMEOUT", "bank.deposit")
    assert log.error.message.startswith("step in: ")
    assert branch.bank.calls["bank.deposit"] == 1
    late = next(e for e in log.steps if e.step == "bank.deposit")
    assert (late.status, late.attempts) == (Status.UNKNOWN, 1)
    assert [e.step for e in log.steps if e.kind is CallKind.UNDO] == ["bank.take_back", "bank.put_back"]
    assert branch.bank.balances == {"ann": 1000, "bob": 1000}


async def test_a_step_is_tried_again_until_its_timeout_is_over(branch: Branch) -> None:
    branch.bank.trouble["bank.deposit"].extend([fail] * 12)
    out, into = transfer()["steps"]
    log = await branch.run(transfer(steps=[out, into | {"timeout_s": 30}]))
    assert log.state is State.CONFIRMED
    assert branch.bank.calls["bank.deposit"] == 13
    assert branch.bank.balances == {"ann": 990, "bob": 1010}


async def test_a_rollback_over_its_timeout_counts_as_failed_and_is_tried_again(branch: Branch) -> None:
    branch.bank.trouble["bank.put_back"].extend([hang, hang])
    log = await branch.run(transfer(steps=[each | SHORT for each in BROKEN]))
    assert log.state is State.ROLLED_BACK
    [undo] = [e for e in log.steps if e.kind is CallKind.UNDO]
    assert undo.ended_at is not None
    assert undo.ended_at - undo.started_at < timedelta(minutes=2), "its own 2 s, and two pauses"
    assert branch.bank.calls["bank.put_back"] == 3
    assert branch.bank.balances == {"ann": 1000, "carl": 1000}


async def test_a_step_without_a_rollback_decides_and_those_after_it_are_repeated_until_done(branch: Branch) -> None:
    final = [step("receipt", "print_receipt", None), step("again", "print_receipt", None, "bob")]
    branch.bank.trouble["bank.print_receipt"].extend([fail] * 12)
    log = await branch.run(transfer(steps=[*transfer()["steps"], *final]))
    assert log.state is State.CONFIRMED
    assert branch.bank.calls["bank.print_receipt"] == 14
    assert [e.kind for e in log.steps[-2:]] == [CallKind.PIVOT, CallKind.FINISH]


async def test_two_parked_rollbacks_of_one_operation_have_tickets_of_their_own(
    branch: Branch, server: WorkflowEnvironment
) -> None:
    steps = [step("one", "withdraw", "put_back"), step("two", "withdraw", "put_back", "bob")]
    steps[1]["input"]["transaction_id"] = "t-desk/two"
    branch.bank.trouble["bank.put_back"].extend([fail] * 10)
    document = transfer(transaction_id="t-desk", steps=[*steps, step("more", "withdraw", "put_back", "c", **TOO_MUCH)])
    handle = await branch.start(document)
    await server.sleep(timedelta(seconds=12))
    parked = {call.step for call in await handle.query("parked", result_type=list[Parked])}
    assert parked == {"bank.put_back", "bank.put_back#one"}

    other = Fix(actor="ann", request={"transaction_id": "t-desk", "account": "bob", "amount_minor": 10})
    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await handle.execute_update("desk_fix", args=["bank.put_back", other])
    assert "must be one of transaction t-desk/two" in str(refused.value.cause)
    await handle.execute_update("desk_skip", args=["bank.put_back#one", Skip(actor="ann", reason="by hand")])
    log = await branch.end(handle)
    assert log.state is State.ROLLED_BACK_WITH_SKIPS
    assert branch.bank.balances == {"ann": 990, "bob": 1000, "c": 1000}


async def test_a_transaction_that_was_terminated_is_brought_to_its_end_by_another_run(
    branch: Branch, server: WorkflowEnvironment
) -> None:
    branch.bank.trouble["bank.put_back"].extend([fail] * 5)
    document = transfer(steps=[*transfer()["steps"], BROKEN[1]])
    handle = await branch.start(document)
    await server.sleep(timedelta(seconds=6))
    await handle.terminate("by mistake, while a rollback is parked and another is done")
    assert branch.bank.balances == {"ann": 990, "bob": 1000, "carl": 1000}
    log = await branch.end(await branch.start(document, resumed=True))
    assert log.state is State.ROLLED_BACK
    assert branch.bank.balances == {"ann": 1000, "bob": 1000, "carl": 1000}


@pytest.mark.parametrize(("amount", "ann", "bob"), [(10, 990, 1010), (5000, 1000, 1000)])
async def test_a_workflow_may_pass_its_steps_as_activity_methods(
    branch: Branch, amount: int, ann: int, bob: int
) -> None:
    first, second = Transfer("t-2", "ann", amount), Transfer("t-2", "bob", amount)
    handle = await branch.client.start_workflow(
        TransferWorkflow.run, args=[first, second], id="mine", task_queue=WORKFLOWS_QUEUE
    )
    if amount == 10:
        assert await handle.result() == [990, 1010]
    else:
        assert (await branch.end(handle)).state is State.ROLLED_BACK
    assert (branch.bank.balances["ann"], branch.bank.balances["bob"]) == (ann, bob)
