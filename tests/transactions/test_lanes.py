"""A serial lane runs one transaction at a time, in the order of their entries, whatever happens to its holder."""

from datetime import UTC, datetime
from functools import partial

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.api.workflowservice.v1 import SetWorkerDeploymentCurrentVersionRequest
from temporalio.client import WorkflowExecutionStatus, WorkflowHistory
from temporalio.common import WorkerDeploymentVersion
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.service import RPCError

from client.errors import LaneFull
from client.transactions import Place, Transactions
from composition.workers import workflow_worker
from contracts.ids import lane_id
from contracts.lane import MAX_REMEMBERED, MAX_WAITING_BYTES, Holder, LaneEntry, LaneState, LaneView
from contracts.transaction import MAX_DOCUMENT_BYTES, Transaction
from temporal_saga import Skip, State
from tests.gate import Gate
from workflows.lane import LaneWorkflow

from ..eventually import eventually_async
from .bank import fail
from .harness import Handle, Harness, step, transfer
from .lane_history import runs_of, started

SHORT_RUNS = LaneState(events_a_run=15)
"""A lane that continues as new after about one transaction, or while it is held and entries come."""
BROKEN = [step("out", "withdraw", "put_back"), step("more", "withdraw", "put_back", "c", input={"amount_minor": 5000})]
_TIMEOUT_S = 200
pytestmark = [
    pytest.mark.timeout(300),  # five hundred workflows one after the other are a minute on a busy machine
    pytest.mark.xdist_group("lanes of tellers"),  # they mostly wait: started early, beside tests that compute
]


async def _idle(realtime: Harness, lane: Handle) -> list[WorkflowHistory]:
    """Wait until the lane has nothing to do, and return the histories of its runs, in order."""

    def idle(view: LaneView) -> bool:
        return view.holder is None and not view.count

    await eventually_async(partial(_view, lane), "the lane is idle", until=idle, timeout_s=_TIMEOUT_S)
    return await runs_of(realtime.client, lane.id)


async def _view(lane: Handle) -> LaneView:
    """The view of the lane's latest run."""
    view: LaneView = await lane.query("waiting", result_type=LaneView)
    return view


@pytest.mark.parametrize("count", [8, pytest.param(500, marks=pytest.mark.chaos)])
async def test_transactions_pass_one_at_a_time_in_order_through_many_runs(realtime: Harness, count: int) -> None:
    documents = [realtime.small(number) for number in range(count)]
    lanes = [await realtime.enter(document, "long", LaneState(events_a_run=max(15, count))) for document in documents]
    runs = await _idle(realtime, lanes[0])
    assert len(runs) > 3
    names = [document["transaction_id"] for document in documents]
    assert started(runs) == names
    assert realtime.bank.started == names
    assert set(realtime.bank.balances.values()) == {990}
    assert len(realtime.bank.balances) == count


async def test_a_transaction_that_enters_twice_runs_once(realtime: Harness) -> None:
    realtime.bank.injected["bank.withdraw"].append(fail)
    first, second = realtime.small(1), realtime.small(2)
    lane = await realtime.enter(first, "twice", SHORT_RUNS)
    for document in (first, second, second, first):
        await realtime.enter(document, "twice")
    await _idle(realtime, lane)
    await _idle(realtime, await realtime.enter(first, "twice"))
    assert realtime.bank.balances == {"a-1": 990, "a-2": 990}
    assert realtime.bank.started == [first["transaction_id"], second["transaction_id"]]


async def test_a_parked_rollback_holds_the_lane_and_is_freed_on_the_desk(realtime: Harness) -> None:
    """The runs are so short that the lane continues as new while it is held, and waits for a workflow that is no longer
    its child."""
    realtime.bank.injected["bank.put_back"].extend([fail] * 1000)
    stuck = transfer(steps=BROKEN)
    lane = await realtime.enter(stuck, "held", SHORT_RUNS)
    behind = [realtime.small(number) for number in range(8)]
    for document in behind:
        await realtime.enter(document, "held")
    handle = realtime.client.get_workflow_handle(f"transaction/{stuck['transaction_id']}")
    await realtime.until_parked(handle, "bank.put_back")
    latest = realtime.client.get_workflow_handle(lane.id)
    view = await _view(latest)
    assert view.holder is not None
    assert view.holder.transaction_id == stuck["transaction_id"]
    assert view.waiting == tuple(document["transaction_id"] for document in behind)
    assert await latest.query("ahead_of", behind[3]["transaction_id"], result_type=int) == 4
    assert set(realtime.bank.balances) == {"ann", "c"}, "no transaction has overtaken it"

    await handle.execute_update("desk_skip", args=["bank.put_back", Skip(actor="ann", reason="by hand")])
    runs = await _idle(realtime, lane)
    assert len(runs) > 2
    assert started(runs) == [stuck["transaction_id"], *(document["transaction_id"] for document in behind)]
    assert (await realtime.end(handle)).state is State.ROLLED_BACK_WITH_SKIPS


@pytest.mark.parametrize("run", [pytest.param(SHORT_RUNS, marks=pytest.mark.long), LaneState()])
async def test_a_terminated_transaction_frees_the_lane(realtime: Harness, run: LaneState) -> None:
    gate = Gate()
    realtime.bank.injected["bank.withdraw"].append(gate)
    patient = [step("out", "withdraw", "put_back", timeout_s=3600)]
    gone, behind = transfer(steps=patient), [realtime.small(number) for number in range(8)]
    lane = await realtime.enter(gone, "free", run)
    for document in behind:
        await realtime.enter(document, "free")
    await gate.reached.wait()
    await realtime.client.get_workflow_handle(f"transaction/{gone['transaction_id']}").terminate("by mistake")
    gate.open.set()
    runs = await _idle(realtime, lane)
    assert started(runs) == [document["transaction_id"] for document in (gone, *behind)]
    assert [realtime.bank.balances[f"a-{number}"] for number in range(len(behind))] == [990] * len(behind)


async def test_a_document_that_no_workflow_can_run_does_not_stop_the_lane(realtime: Harness) -> None:
    wrong, right = {"transaction_id": f"wrong-{realtime.name}", "steps": []}, realtime.small(1)
    lane = await realtime.enter(wrong, "odd")
    await lane.signal("enter", "not an entry at all")
    await realtime.enter(right, "odd")
    assert started(await _idle(realtime, lane)) == [wrong["transaction_id"], right["transaction_id"]]
    assert realtime.bank.balances == {"a-1": 990}


async def test_a_full_lane_refuses_an_entry_and_shows_it(realtime: Harness) -> None:
    gate = Gate()
    realtime.bank.injected["bank.withdraw"].append(gate)
    patient = [step("out", "withdraw", "put_back", timeout_s=3600)]
    slow, name = transfer(steps=patient), realtime.lane("full")
    lane = await realtime.enter(slow, "full")
    await gate.reached.wait()
    large = {"note": "x" * 90_000}
    fits = MAX_WAITING_BYTES // 91_000
    for number in range(fits + 3):
        document = realtime.small(number)
        document["steps"][0]["input"] |= large
        await realtime.enter(document, "full")
    view = await _view(lane)
    assert view.count + len(view.refused) == fits + 3
    assert 0 < len(view.refused) <= 3
    last = Transaction.model_validate(document)
    with pytest.raises(LaneFull, match=f"lane {name} is full"):
        await Transactions(realtime.client).place_in(last, name)
    await realtime.client.get_workflow_handle(f"transaction/{slow['transaction_id']}").terminate(
        "let the others through"
    )
    gate.open.set()
    runs = await _idle(realtime, lane)
    assert len(started(runs)) == view.count + 1
    assert not set(started(runs)) & set(view.refused)
    await realtime.enter(document, "full")
    assert last.transaction_id in started(await _idle(realtime, lane))
    assert last.transaction_id not in (await _view(lane)).refused
    await Transactions(realtime.client).place_in(last, name)


async def test_an_entry_is_lost_only_if_the_lane_is_closed_or_does_not_have_it(realtime: Harness) -> None:
    gate = Gate()
    realtime.bank.injected["bank.withdraw"].append(gate)
    slow, behind = (realtime.small(number) for number in range(2))
    slow["steps"][0]["timeout_s"] = 3600
    transactions, asked = Transactions(realtime.client), realtime.lane("asked")
    first, second, stranger = map(Transaction.model_validate, (slow, behind, realtime.small(2)))
    assert await transactions.place_in(second, asked) == Place(lost=True), "there is no such lane"
    await realtime.enter(slow, "asked")
    lane = await realtime.enter(behind, "asked")
    await gate.reached.wait()
    assert await transactions.place_in(first, asked) == Place()
    assert await transactions.place_in(second, asked) == Place(ahead=1, behind=first.transaction_id)
    assert await transactions.place_in(stranger, asked) == Place(lost=True)
    await lane.terminate("by mistake")
    assert await transactions.place_in(second, asked) == Place(lost=True), "a closed lane would still name its place"
    mute = realtime.lane("mute")
    await realtime.client.start_workflow(LaneWorkflow.run, LaneState(), id=lane_id(mute), task_queue="nobody")
    assert await transactions.place_in(second, mute) == Place(), "without an answer the place is kept"
    gate.open.set()
    await realtime.end(realtime.client.get_workflow_handle(f"transaction/{first.transaction_id}"))


def test_a_transaction_that_holds_the_lane_is_not_entered_again() -> None:
    holder = Holder(transaction_id="t-1", since=datetime.now(UTC))
    lane = LaneWorkflow(LaneState(holder=holder))
    for name in ("t-1", "t-2", "t-1"):
        lane.enter(LaneEntry(transaction_id=name, document={}, size=2))
    assert lane.waiting().waiting == ("t-2",)


@pytest.mark.parametrize(("size", "length"), [(2, 8), (2, 64), (MAX_DOCUMENT_BYTES, 64)])
def test_the_most_entries_fit_into_the_input_of_the_next_run(size: int, length: int) -> None:
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


@pytest.mark.parametrize("run", [pytest.param(SHORT_RUNS, marks=pytest.mark.long), LaneState()])
async def test_a_lane_ignores_a_cancellation(realtime: Harness, run: LaneState) -> None:
    gate = Gate()
    realtime.bank.injected["bank.withdraw"].append(gate)
    documents = [realtime.small(number) for number in range(8)]
    documents[0]["steps"][0]["timeout_s"] = 3600
    lanes = [await realtime.enter(document, "kept", run) for document in documents]
    await gate.reached.wait()
    for _ in range(2):
        await lanes[0].cancel()
        assert (await _view(lanes[0])).count == len(documents) - 1
        assert (await lanes[0].describe()).status is WorkflowExecutionStatus.RUNNING
    gate.open.set()
    runs = await _idle(realtime, lanes[0])
    assert started(runs) == [document["transaction_id"] for document in documents]
    assert set(realtime.bank.balances.values()) == {990}


@pytest.mark.long
async def test_a_lane_goes_over_to_a_new_build(realtime_alone: Harness) -> None:
    realtime = realtime_alone
    old, new = (workflow_worker(realtime.client, version=WorkerDeploymentVersion("d", name)) for name in ("old", "new"))
    async with old, new:
        await _make_current(realtime, "old")
        lane, count = await realtime.enter(realtime.small(0), "upgraded"), 1
        await _idle(realtime, lane)
        await _make_current(realtime, "new")
        while len(runs := await _idle(realtime, lane)) == 1 or not _builds_of(runs[1]):
            await realtime.enter(realtime.small(count), "upgraded")
            count += 1
    assert [_builds_of(run) for run in runs] == [{"old"}, {"new"}]
    assert started(runs) == [realtime.small(number)["transaction_id"] for number in range(count)]


async def _make_current(realtime: Harness, build: str) -> None:
    """Make a build the current one, once the server knows it: a moment after its workers poll."""
    wanted = SetWorkerDeploymentCurrentVersionRequest(namespace="default", deployment_name="d", build_id=build)

    async def is_set() -> bool:
        try:
            await realtime.client.workflow_service.set_worker_deployment_current_version(wanted)
        except RPCError:
            return False
        return True

    await eventually_async(is_set, f"the server knows the build {build}")


def _builds_of(run: WorkflowHistory) -> set[str]:
    done = EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
    tasks = [e.workflow_task_completed_event_attributes for e in run.events if e.event_type == done]
    return {task.deployment_version.build_id for task in tasks}


async def test_a_lane_without_an_entry_completes(harness: Harness) -> None:
    lane = await harness.enter(harness.small(1), "short")
    await lane.result()
    assert harness.bank.balances == {"a-1": 990}
