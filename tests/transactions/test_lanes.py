"""A serial lane: one at a time, in the order of arrival, whatever happens to the one that holds it."""

from __future__ import annotations

import asyncio

import pytest
from temporalio.client import WorkflowHistory

from contracts.lane import MAX_WAITING_BYTES, LaneState, LaneView
from saga import Parked, Skip, State

from .bank import Gate, fail
from .branch import Branch, Document, Handle, step, transfer
from .line import begun, runs_of

SHORT_RUNS = LaneState(events_a_run=60)
"""A lane continues as new after some four transactions."""
BROKEN = [step("out", "withdraw", "put_back"), step("more", "withdraw", "put_back", "c", input={"amount_minor": 5000})]
_PATIENCE_S = 200
pytestmark = pytest.mark.timeout(300)  # five hundred workflows one after the other are a minute on a busy machine


async def _idle(teller: Branch, lane: Handle) -> list[WorkflowHistory]:
    """Wait until the lane has nothing to do, and return the histories of its runs, in order."""
    async with asyncio.timeout(_PATIENCE_S):
        while (view := await _view(lane)).holder is not None or view.count:
            await asyncio.sleep(0.2)
    return await runs_of(teller.client, lane.id)


async def _view(lane: Handle) -> LaneView:
    """Of the lane's latest run."""
    view: LaneView = await lane.query("waiting", result_type=LaneView)
    return view


def _small(number: int, **more: object) -> Document:
    steps = [step("out", "withdraw", "put_back", f"a-{number}")]
    return transfer(transaction_id=f"n-{number:05}", steps=steps, **more)


@pytest.mark.parametrize("count", [60, pytest.param(500, marks=pytest.mark.chaos)])
async def test_transactions_pass_one_at_a_time_in_order_through_many_runs(teller: Branch, count: int) -> None:
    documents = [_small(number) for number in range(count)]
    lanes = [await teller.enter(document, "long", LaneState(events_a_run=count)) for document in documents]
    runs = await _idle(teller, lanes[0])
    assert len(runs) > 3
    names = [document["transaction_id"] for document in documents]
    assert begun(runs) == names
    assert teller.bank.begun == names
    assert set(teller.bank.balances.values()) == {990}
    assert len(teller.bank.balances) == count


async def test_a_transaction_that_enters_twice_runs_once(teller: Branch) -> None:
    teller.bank.trouble["bank.withdraw"].append(fail)
    first, second = _small(1), _small(2)
    lane = await teller.enter(first, "twice", SHORT_RUNS)
    for document in (first, second, second, first):
        await teller.enter(document, "twice")
    await _idle(teller, lane)
    await _idle(teller, await teller.enter(first, "twice"))
    assert teller.bank.balances == {"a-1": 990, "a-2": 990}
    assert teller.bank.begun == ["n-00001", "n-00002"]


async def test_a_parked_rollback_holds_the_lane_and_is_freed_on_the_desk(teller: Branch) -> None:
    """The runs are so short that the lane continues as new while it is held, and watches what is not its child now."""
    teller.bank.trouble["bank.put_back"].extend([fail] * 1000)
    stuck = transfer(transaction_id="stuck", steps=BROKEN)
    lane = await teller.enter(stuck, "held", SHORT_RUNS)
    behind = [_small(number) for number in range(40)]
    for document in behind:
        await teller.enter(document, "held")
    handle = teller.client.get_workflow_handle("transaction/stuck")
    async with asyncio.timeout(_PATIENCE_S):
        while not await handle.query("parked", result_type=list[Parked]):
            await asyncio.sleep(0.1)
    latest = teller.client.get_workflow_handle("lane/held")
    view = await _view(latest)
    assert view.holder is not None
    assert view.holder.transaction_id == "stuck"
    assert view.waiting == tuple(document["transaction_id"] for document in behind)
    assert await latest.query("ahead_of", "n-00003", result_type=int) == 4
    assert set(teller.bank.balances) == {"ann", "c"}, "nobody has overtaken it"

    await handle.execute_update("desk_skip", args=["bank.put_back", Skip(actor="ann", reason="by hand")])
    runs = await _idle(teller, lane)
    assert len(runs) > 2
    assert begun(runs) == ["stuck", *(document["transaction_id"] for document in behind)]
    assert (await teller.end(handle)).state is State.ROLLED_BACK_WITH_SKIPS


@pytest.mark.parametrize("run", [SHORT_RUNS, LaneState()])
async def test_a_terminated_transaction_frees_the_lane(teller: Branch, run: LaneState) -> None:
    gate = Gate()
    teller.bank.trouble["bank.withdraw"].append(gate)
    patient = [step("out", "withdraw", "put_back", timeout_s=3600)]
    lane = await teller.enter(transfer(transaction_id="gone", steps=patient), "free", run)
    for number in range(30):
        await teller.enter(_small(number), "free")
    await gate.reached.wait()
    await teller.client.get_workflow_handle("transaction/gone").terminate("by mistake")
    gate.open.set()
    runs = await _idle(teller, lane)
    assert begun(runs) == ["gone", *(f"n-{number:05}" for number in range(30))]
    assert [teller.bank.balances[f"a-{number}"] for number in range(30)] == [990] * 30


async def test_what_no_workflow_can_run_does_not_stop_the_lane(teller: Branch) -> None:
    lane = await teller.enter({"transaction_id": "wrong", "steps": []}, "odd")
    await teller.client.get_workflow_handle("lane/odd").signal("enter", "not an entry at all")
    await teller.enter(_small(1), "odd")
    assert begun(await _idle(teller, lane)) == ["wrong", "n-00001"]
    assert teller.bank.balances == {"a-1": 990}


async def test_a_full_lane_refuses_and_says_so(teller: Branch) -> None:
    gate = Gate()
    teller.bank.trouble["bank.withdraw"].append(gate)
    patient = [step("out", "withdraw", "put_back", timeout_s=3600)]
    lane = await teller.enter(transfer(transaction_id="slow", steps=patient), "full")
    await gate.reached.wait()
    large = {"note": "x" * 90_000}
    fits = MAX_WAITING_BYTES // 91_000
    for number in range(fits + 3):
        document = _small(number)
        document["steps"][0]["input"] |= large
        await teller.enter(document, "full")
    view = await _view(lane)
    assert view.count + len(view.refused) == fits + 3
    assert 0 < len(view.refused) <= 3
    await teller.client.get_workflow_handle("transaction/slow").terminate("let the others through")
    gate.open.set()
    runs = await _idle(teller, lane)
    assert len(begun(runs)) == view.count + 1
    assert not set(begun(runs)) & set(view.refused)


async def test_a_lane_that_nobody_enters_ends(branch: Branch) -> None:
    lane = await branch.enter(_small(1), "short")
    await lane.result()
    assert branch.bank.balances == {"a-1": 990}
