"""A serial lane: one at a time, in the order of arrival, whatever happens to the one that holds it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.api.workflowservice.v1 import SetWorkerDeploymentCurrentVersionRequest
from temporalio.client import WorkflowExecutionStatus, WorkflowHistory
from temporalio.common import WorkerDeploymentVersion
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.service import RPCError

from client.errors import LaneFull
from client.transactions import Place, Transactions
from contracts.ids import lane_id
from contracts.lane import MAX_REMEMBERED, MAX_WAITING_BYTES, Holder, LaneEntry, LaneState, LaneView
from contracts.transaction import MAX_DOCUMENT_BYTES, Transaction
from saga import Parked, Skip, State
from worker import workflow_worker
from workflows.lane import LaneWorkflow

from .bank import Gate, fail
from .branch import Branch, Document, Handle, step, transfer
from .line import begun, runs_of

SHORT_RUNS = LaneState(events_a_run=60)
"""A lane continues as new after some four transactions."""
BROKEN = [step("out", "withdraw", "put_back"), step("more", "withdraw", "put_back", "c", input={"amount_minor": 5000})]
_PATIENCE_S = 200
pytestmark = [
    pytest.mark.timeout(300),  # five hundred workflows one after the other are a minute on a busy machine
    pytest.mark.xdist_group("lanes of tellers"),  # they mostly wait: begun early, beside what computes
]


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
    last = Transaction.model_validate(document)
    with pytest.raises(LaneFull, match="lane full is full"):
        await Transactions(teller.client).place_in(last, "full")
    await teller.client.get_workflow_handle("transaction/slow").terminate("let the others through")
    gate.open.set()
    runs = await _idle(teller, lane)
    assert len(begun(runs)) == view.count + 1
    assert not set(begun(runs)) & set(view.refused)
    await teller.enter(document, "full")
    assert last.transaction_id in begun(await _idle(teller, lane))
    assert last.transaction_id not in (await _view(lane)).refused
    await Transactions(teller.client).place_in(last, "full")


async def test_who_asks_is_lost_only_where_the_lane_is_closed_or_does_not_know_it(teller: Branch) -> None:
    gate = Gate()
    teller.bank.trouble["bank.withdraw"].append(gate)
    slow, behind = (_small(number) for number in range(2))
    slow["steps"][0]["timeout_s"] = 3600
    transactions = Transactions(teller.client)
    first, second, stranger = map(Transaction.model_validate, (slow, behind, _small(2)))
    assert await transactions.place_in(second, "asked") == Place(lost=True), "there is no such lane"
    await teller.enter(slow, "asked")
    lane = await teller.enter(behind, "asked")
    await gate.reached.wait()
    assert await transactions.place_in(first, "asked") == Place()
    assert await transactions.place_in(second, "asked") == Place(ahead=1, behind=first.transaction_id)
    assert await transactions.place_in(stranger, "asked") == Place(lost=True)
    await lane.terminate("by mistake")
    assert await transactions.place_in(second, "asked") == Place(lost=True), "a closed lane would still name its place"
    await teller.client.start_workflow(LaneWorkflow.run, LaneState(), id=lane_id("mute"), task_queue="nobody")
    assert await transactions.place_in(second, "mute") == Place(), "nobody can say, and the place is kept"
    gate.open.set()


def test_a_transaction_that_holds_the_lane_takes_no_second_place_in_the_line() -> None:
    holder = Holder(transaction_id="t-1", since=datetime.now(UTC))
    lane = LaneWorkflow(LaneState(holder=holder))
    for name in ("t-1", "t-2", "t-1"):
        lane.enter(LaneEntry(transaction_id=name, document={}, size=2))
    assert lane.waiting().waiting == ("t-2",)


@pytest.mark.parametrize("length", [8, 64], ids=["short ids", "long ids"])
@pytest.mark.parametrize("size", [2, 1000, MAX_DOCUMENT_BYTES])
def test_the_longest_line_fits_into_what_one_run_hands_to_the_next(size: int, length: int) -> None:
    document = {"": "x" * (size - 6)} if size > 2 else {}
    names = [f"{number:0{length}}" for number in range(30_000 if size < MAX_DOCUMENT_BYTES else 100)]
    entries = [LaneEntry(transaction_id=name, document=document, size=size) for name in names]
    lane = LaneWorkflow(LaneState())
    for entry in entries:
        lane.enter(entry)
    view = lane.waiting()
    assert 0 < view.count < len(entries)
    state = LaneState(
        waiting=tuple(entries[: view.count]),
        holder=Holder(transaction_id="h" * 64, since=datetime.now(UTC)),
        refused=("r" * 64,) * MAX_REMEMBERED,
    )
    [payload] = pydantic_data_converter.payload_converter.to_payloads([state])
    assert payload.ByteSize() < 2 * 1024**2


@pytest.mark.parametrize("run", [SHORT_RUNS, LaneState()])
async def test_a_lane_is_not_for_cancelling(teller: Branch, run: LaneState) -> None:
    gate = Gate()
    teller.bank.trouble["bank.withdraw"].append(gate)
    documents = [_small(number) for number in range(20)]
    documents[0]["steps"][0]["timeout_s"] = 3600
    lanes = [await teller.enter(document, "kept", run) for document in documents]
    await gate.reached.wait()
    for _ in range(2):
        await lanes[0].cancel()
        assert (await _view(lanes[0])).count == len(documents) - 1
        assert (await lanes[0].describe()).status is WorkflowExecutionStatus.RUNNING
    gate.open.set()
    runs = await _idle(teller, lanes[0])
    assert begun(runs) == [document["transaction_id"] for document in documents]
    assert set(teller.bank.balances.values()) == {990}


async def test_a_lane_goes_over_to_a_new_build(teller: Branch) -> None:
    old, new = (workflow_worker(teller.client, version=WorkerDeploymentVersion("d", name)) for name in ("old", "new"))
    async with old, new:
        await _make_current(teller, "old")
        lane, count = await teller.enter(_small(0), "upgraded"), 1
        await _idle(teller, lane)
        await _make_current(teller, "new")
        while len(runs := await _idle(teller, lane)) == 1 or not _builds_of(runs[1]):
            await teller.enter(_small(count), "upgraded")
            count += 1
    assert [_builds_of(run) for run in runs] == [{"old"}, {"new"}]
    assert begun(runs) == [f"n-{number:05}" for number in range(count)]


async def _make_current(teller: Branch, build: str) -> None:
    """The server learns of a build a moment after its workers poll."""
    wanted = SetWorkerDeploymentCurrentVersionRequest(namespace="default", deployment_name="d", build_id=build)
    async with asyncio.timeout(_PATIENCE_S):
        while True:
            try:
                await teller.client.workflow_service.set_worker_deployment_current_version(wanted)
            except RPCError:
                await asyncio.sleep(0.2)
            else:
                return


def _builds_of(run: WorkflowHistory) -> set[str]:
    done = EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
    tasks = [e.workflow_task_completed_event_attributes for e in run.events if e.event_type == done]
    return {task.deployment_version.build_id for task in tasks}


async def test_a_lane_that_nobody_enters_ends(branch: Branch) -> None:
    lane = await branch.enter(_small(1), "short")
    await lane.result()
    assert branch.bank.balances == {"a-1": 990}
