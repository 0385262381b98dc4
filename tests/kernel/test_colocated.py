"""Colocated sagas: they end as any other, with fewer events; a call that fails locally goes over its queue."""

from dataclasses import replace
from datetime import timedelta

import pytest
from temporalio import workflow
from temporalio.api.enums.v1 import EventType
from temporalio.testing import WorkflowEnvironment

from temporal_saga import DEADLINE_EXCEEDED, Plan, Policies, Policy, Saga, State, Status, TransactionLog
from temporal_saga.outcome import CANCELLED, SERVICE_UNAVAILABLE

from . import expect, tree
from .cancels import by_business
from .harness import Handle, Harness, real_server
from .plan import BEST_EFFORT, FINISHES, OPERATIONS, PIVOT, STEPS
from .policies import COLOCATED
from .services import SOLD_OUT, FakeServices, fail, hang, lose_reply, refuse, repeat, slow
from .workflows import TreeWorkflow, Trip, TripBase, served_here

OPENING = STEPS[0].name


@workflow.defn
class WholeTripWorkflow(TripBase):
    """A saga whose body has the pivot, too."""

    async def _body(self, saga: Saga | Plan) -> None:
        await super()._body(saga)
        await saga.pivot(served_here(PIVOT), self._booking)

    @workflow.run
    async def run(self, _trip: Trip) -> TransactionLog:
        async with self.saga as saga:
            await self._body(saga)
        return saga.log


def test_a_colocated_saga_cannot_be_built_without_its_body() -> None:
    """Without it, a rollback could not undo calls that a worker made before the history had them."""
    with pytest.raises(TypeError, match="a colocated saga needs its body"):
        Saga("t-1", policies=COLOCATED)


async def test_a_trip_without_trouble_uses_a_queue_only_for_its_first_step_and_its_pivot(harness: Harness) -> None:
    handle = await harness.start(policies=COLOCATED)
    end = await harness.end(handle)
    expect.confirmed(harness, end)
    assert {(entry.status, entry.attempts) for entry in end.log.steps} == {(Status.DONE, 1)}
    assert await _scheduled(handle) == [OPENING, PIVOT.name]


async def test_each_call_of_an_opening_group_is_in_the_history_before_it_is_made(server: WorkflowEnvironment) -> None:
    """A worker that is thought dead can have made none of them where the history shows no step."""
    group = tree.Node(branches=((tree.Node("first"),), (tree.Node("second"),)))
    shape = tree.Tree((group, tree.Node("third")))
    harness = Harness(server, FakeServices(shape.operations), workflows=(TreeWorkflow,))
    async with harness.worker():
        handle = await harness.start(TreeWorkflow, tree=shape, policies=COLOCATED)
        assert (await harness.end(handle)).log.state is State.CONFIRMED
    assert await _scheduled(handle) == ["first.do", "second.do", tree.PIVOT.name]


async def test_a_local_refusal_rolls_back_over_the_queues(harness: Harness) -> None:
    step = STEPS[-1].name
    harness.services.script(step, then=refuse)
    handle = await harness.start(policies=COLOCATED)
    end = await harness.end(handle)
    expect.rolled_back(harness, end, SOLD_OUT, step=step, all_undone=True)
    assert sorted(await _scheduled(handle)) == sorted([OPENING, *harness.services.undone]), "undos are never local"
    entry = expect.entry_of(end, step)
    assert (entry.status, entry.attempts) == (Status.REFUSED, 1)


async def test_a_local_call_that_fails_is_made_again_over_the_queue(harness: Harness) -> None:
    step = STEPS[-1].name
    harness.services.script(step, lose_reply)
    handle = await harness.start(policies=COLOCATED)
    end = await harness.end(handle)
    expect.confirmed(harness, end)
    assert expect.entry_of(end, step).attempts == 2
    assert await _scheduled(handle) == [OPENING, step, PIVOT.name]


async def test_a_local_call_that_does_not_answer_is_made_again_over_the_queue(harness: Harness) -> None:
    forward, finish, best_effort = map(_short_timeout, (COLOCATED.forward, COLOCATED.finish, COLOCATED.best_effort))
    short_timeouts = Policies(forward=forward, finish=finish, best_effort=best_effort)
    for operation in OPERATIONS:
        harness.services.script(operation.name, hang)
    end = await harness.run(policies=short_timeouts)
    expect.confirmed(harness, end)
    assert {entry.attempts for entry in end.log.steps} == {2}


@pytest.mark.parametrize("max_cached_workflows", [0])
async def test_a_worker_after_a_failover_makes_no_local_calls(harness: Harness) -> None:
    """A worker without a cache is a new one after each reply. A call that kills its process must kill only one."""
    handle = await harness.start(policies=COLOCATED)
    expect.confirmed(harness, await harness.end(handle))
    assert {(entry.status, entry.attempts) for entry in (await harness.log(handle)).steps} == {(Status.DONE, 1)}
    everything = {*(step.name for step in STEPS), PIVOT.name, *(finish.name for finish in FINISHES), BEST_EFFORT.name}
    assert {*await _scheduled(handle)} == everything


async def test_a_local_call_that_a_dead_worker_had_made_tells_of_no_other_execution(
    server: WorkflowEnvironment,
) -> None:
    """Else no step of a saga whose body has a pivot would be given up."""
    harness = Harness(server, FakeServices(), workflows=(WholeTripWorkflow,))
    for step in STEPS[1:-1]:
        harness.services.script(step.name, then=repeat)
    harness.services.script(STEPS[-1].name, then=fail)
    async with harness.worker():
        end = await harness.end(await harness.start(WholeTripWorkflow, policies=COLOCATED))
    expect.rolled_back(harness, end, SERVICE_UNAVAILABLE, step=STEPS[-1].name)


async def test_a_step_that_gets_no_answer_either_way_is_undone(harness: Harness) -> None:
    step = STEPS[-1].name
    harness.services.script(step, then=fail)
    end = await harness.run(policies=COLOCATED)
    entry = expect.entry_of(end, step)
    assert (entry.status, entry.attempts) == (Status.UNKNOWN, 1 + COLOCATED.forward.attempts)


async def test_a_local_call_that_is_cancelled_is_not_made_again_over_the_queue(
    idle_harness: Harness, embedded: str
) -> None:
    """The server that skips time tells an open workflow task nothing of an update."""
    idle_harness.server = await real_server(embedded)
    step, patient = STEPS[-1].name, replace(COLOCATED, forward=replace(COLOCATED.forward, local=timedelta(minutes=1)))
    gate = idle_harness.services.gate(step)
    async with idle_harness.worker():
        handle = await idle_harness.start(task=timedelta(seconds=1), policies=patient)
        await gate.reached.wait()
        await by_business(handle)
        end = await idle_harness.end(handle)
        gate.open.set()
    expect.rolled_back(idle_harness, end, CANCELLED)
    assert step not in await _scheduled(handle)
    assert idle_harness.services.calls.count(step) == 1


async def test_the_deadline_holds_between_two_calls_of_one_workflow_task(idle_harness: Harness, embedded: str) -> None:
    """No timer fires while a workflow task is open, and local calls keep it open."""
    idle_harness.server = await real_server(embedded)  # the server that skips time would skip the delay
    for step in STEPS:
        idle_harness.services.script(step.name, then=slow)
    async with idle_harness.worker():
        handle = await idle_harness.start(policies=COLOCATED, deadline=timedelta(milliseconds=350))
        end = await idle_harness.end(handle)
        assert (end.code, end.log.state) == (DEADLINE_EXCEEDED, State.ROLLED_BACK)
        assert PIVOT.name not in idle_harness.services.calls


def _short_timeout(policy: Policy) -> Policy:
    return replace(policy, local=timedelta(milliseconds=150))


async def _scheduled(handle: Handle) -> list[str]:
    """The operations that were called over a queue."""
    scheduled = EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED
    events = (await handle.fetch_history()).events
    return [e.activity_task_scheduled_event_attributes.activity_type.name for e in events if e.event_type == scheduled]
