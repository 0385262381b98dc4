"""A transaction as data, on a server that skips time: the money is moved, or the accounts are as before."""

from datetime import timedelta

import pytest
from temporalio.client import WorkflowUpdateFailedError
from temporalio.testing import WorkflowEnvironment

from contracts.order import WORKFLOWS_QUEUE
from temporal_saga import CallKind, Fix, Skip, State, Status

from .bank import BROKE, Transfer, fail, hang
from .harness import Harness, step, transfer
from .transfer import TransferWorkflow

TOO_MUCH = {"input": {"amount_minor": 5000}}
BROKEN = [step("out", "withdraw", "put_back"), step("more", "withdraw", "put_back", "carl", **TOO_MUCH)]
SHORT = {"timeout_s": 2}
"""A short timeout for steps that hang: the server skips no time while an activity runs."""


async def test_the_steps_run_in_order_and_the_money_is_moved(harness: Harness) -> None:
    log = await harness.run(transfer())
    assert (log.state, log.error) == (State.CONFIRMED, None)
    assert [(e.name, e.step, e.status) for e in log.steps] == [
        ("out", "bank.withdraw", Status.DONE),
        ("in", "bank.deposit", Status.DONE),
    ]
    assert harness.bank.balances == {"ann": 990, "bob": 1010}


async def test_a_refused_step_rolls_back_those_before_it_in_reverse_and_is_named(harness: Harness) -> None:
    steps = [*transfer()["steps"], step("more", "withdraw", "put_back", "carl", **TOO_MUCH)]
    log = await harness.run(transfer(steps=steps))
    assert log.state is State.ROLLED_BACK
    assert log.error is not None
    assert (log.error.code, log.error.message) == (BROKE, "step more: not enough money")
    assert [e.step for e in log.steps if e.kind is CallKind.UNDO] == ["bank.take_back", "bank.put_back"]
    assert harness.bank.balances == {"ann": 1000, "bob": 1000, "carl": 1000}


async def test_a_rollback_that_succeeds_on_its_fiftieth_attempt_ends_rolled_back(harness: Harness) -> None:
    harness.bank.injected["bank.put_back"].extend([fail] * 49)
    log = await harness.run(transfer(steps=BROKEN))
    assert log.state is State.ROLLED_BACK
    assert harness.bank.calls["bank.put_back"] == 50
    [undo] = [e for e in log.steps if e.kind is CallKind.UNDO]
    assert undo.status is Status.DONE
    assert harness.bank.balances == {"ann": 1000, "carl": 1000}


async def test_a_step_over_its_timeout_is_rolled_back_and_not_tried_again(harness: Harness) -> None:
    harness.bank.injected["bank.deposit"].append(hang)
    log = await harness.run(transfer(steps=[each | SHORT for each in transfer()["steps"]]))
    assert log.state is State.ROLLED_BACK
    assert log.error is not None
    assert (log.error.code, log.error.step) == ("STEP_TIMEOUT", "bank.deposit")
    assert log.error.message.startswith("step in: ")
    assert harness.bank.calls["bank.deposit"] == 1
    late = next(e for e in log.steps if e.step == "bank.deposit")
    assert (late.status, late.attempts) == (Status.UNKNOWN, 1)
    assert [e.step for e in log.steps if e.kind is CallKind.UNDO] == ["bank.take_back", "bank.put_back"]
    assert harness.bank.balances == {"ann": 1000, "bob": 1000}


async def test_a_step_is_tried_again_until_its_timeout_is_over(harness: Harness) -> None:
    harness.bank.injected["bank.deposit"].extend([fail] * 12)
    out, into = transfer()["steps"]
    log = await harness.run(transfer(steps=[out, into | {"timeout_s": 30}]))
    assert log.state is State.CONFIRMED
    assert harness.bank.calls["bank.deposit"] == 13
    assert harness.bank.balances == {"ann": 990, "bob": 1010}


async def test_a_rollback_over_its_timeout_counts_as_failed_and_is_tried_again(harness: Harness) -> None:
    harness.bank.injected["bank.put_back"].extend([hang, hang])
    log = await harness.run(transfer(steps=[each | SHORT for each in BROKEN]))
    assert log.state is State.ROLLED_BACK
    [undo] = [e for e in log.steps if e.kind is CallKind.UNDO]
    assert undo.ended_at is not None
    assert undo.ended_at - undo.started_at < timedelta(minutes=2), "its own 2 s, and two pauses"
    assert harness.bank.calls["bank.put_back"] == 3
    assert harness.bank.balances == {"ann": 1000, "carl": 1000}


async def test_a_step_without_a_rollback_decides_and_those_after_it_are_repeated_until_done(harness: Harness) -> None:
    final = [step("receipt", "print_receipt", None), step("again", "print_receipt", None, "bob")]
    harness.bank.injected["bank.print_receipt"].extend([fail] * 12)
    log = await harness.run(transfer(steps=[*transfer()["steps"], *final]))
    assert log.state is State.CONFIRMED
    assert harness.bank.calls["bank.print_receipt"] == 14
    assert [e.kind for e in log.steps[-2:]] == [CallKind.PIVOT, CallKind.FINISH]


async def test_two_parked_rollbacks_of_one_operation_have_different_names(
    harness: Harness, server: WorkflowEnvironment
) -> None:
    steps = [step("one", "withdraw", "put_back"), step("two", "withdraw", "put_back", "bob")]
    steps[1]["input"]["transaction_id"] = "t-desk/two"
    harness.bank.injected["bank.put_back"].extend([fail] * 10)
    document = transfer(transaction_id="t-desk", steps=[*steps, step("more", "withdraw", "put_back", "c", **TOO_MUCH)])
    handle = await harness.start(document)
    await server.sleep(timedelta(seconds=12))
    await harness.until_parked(handle, "bank.put_back", "bank.put_back#one")

    other = Fix(actor="ann", request={"transaction_id": "t-desk", "account": "bob", "amount_minor": 10})
    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await handle.execute_update("desk_fix", args=["bank.put_back", other])
    assert "must be one of transaction t-desk/two" in str(refused.value.cause)
    await handle.execute_update("desk_skip", args=["bank.put_back#one", Skip(actor="ann", reason="by hand")])
    log = await harness.end(handle)
    assert log.state is State.ROLLED_BACK_WITH_SKIPS
    assert harness.bank.balances == {"ann": 990, "bob": 1000, "c": 1000}


async def test_a_transaction_that_was_terminated_is_brought_to_its_end_by_another_run(
    harness: Harness, server: WorkflowEnvironment
) -> None:
    harness.bank.injected["bank.put_back"].extend([fail] * 5)
    document = transfer(steps=[*transfer()["steps"], BROKEN[1]])
    handle = await harness.start(document)
    await server.sleep(timedelta(seconds=6))
    await harness.until_parked(handle, "bank.put_back")
    await handle.terminate("by mistake, while a rollback is parked and another is done")
    assert harness.bank.balances == {"ann": 990, "bob": 1000, "carl": 1000}
    log = await harness.end(await harness.start(document, resumed=True))
    assert log.state is State.ROLLED_BACK
    assert harness.bank.balances == {"ann": 1000, "bob": 1000, "carl": 1000}


@pytest.mark.parametrize(("amount", "ann", "bob"), [(10, 990, 1010), (5000, 1000, 1000)])
async def test_a_workflow_may_pass_its_steps_as_activity_methods(
    harness: Harness, amount: int, ann: int, bob: int
) -> None:
    first, second = Transfer("t-2", "ann", amount), Transfer("t-2", "bob", amount)
    handle = await harness.client.start_workflow(
        TransferWorkflow.run, args=[first, second], id="mine", task_queue=WORKFLOWS_QUEUE
    )
    if amount == 10:
        assert await handle.result() == [990, 1010]
    else:
        assert (await harness.end(handle)).state is State.ROLLED_BACK
    assert (harness.bank.balances["ann"], harness.bank.balances["bob"]) == (ann, bob)
