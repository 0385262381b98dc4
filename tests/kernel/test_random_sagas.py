"""A saga of any shape ends, whatever happens to it. All its steps hold or none does, and its log says which."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, note, settings
from temporalio.client import WorkflowUpdateFailedError
from temporalio.service import RPCError
from temporalio.testing import WorkflowEnvironment

from temporal_saga import DEADLINE_EXCEEDED, CallKind, Policies, Policy, Rounds, State, Status
from temporal_saga.outcome import CANCELLED, SERVICE_UNAVAILABLE

from .expect import nothing_is_open
from .harness import End, Handle, Harness, real_server
from .plan import Receipt
from .services import SOLD_OUT, Behaviour, Effect, FakeServices, Work
from .stories import CANCELS, DECISIVE, Script, Story, Trouble, stories
from .tree import PIVOT, finish, in_sequence
from .workflows import TreeWorkflow

pytestmark = [pytest.mark.long, pytest.mark.slow]

_PAUSE = timedelta(milliseconds=20)
_LONG_TIMEOUTS = Policy(timedelta(minutes=1), 4, total=timedelta(hours=1), first_pause=_PAUSE, longest_pause=_PAUSE)
"""No attempt here hangs, and on a busy machine none may time out."""
_FIVE_ATTEMPTS = replace(_LONG_TIMEOUTS, attempts=5)
_POLICIES = Policies(
    forward=_LONG_TIMEOUTS, undo=_FIVE_ATTEMPTS, finish=_FIVE_ATTEMPTS, rounds=Rounds(_PAUSE, _PAUSE * 4)
)
_CODES = {Trouble.DOWN: SERVICE_UNAVAILABLE, Trouble.GONE: SERVICE_UNAVAILABLE}
"""The code of a rollback for such trouble; for any other it is that of a refusal."""


class Cancelling:
    """A behaviour that cancels the saga at its first call, and then does what that call would have done."""

    def __init__(self, who: str, then: Behaviour) -> None:
        self._who = who
        self._then = then
        self.saga: asyncio.Future[Handle] = asyncio.get_running_loop().create_future()
        self.accepted: bool | None = None
        """Whether the saga has accepted the cancel; `None` before the cancel."""
        self.over = asyncio.Event()

    async def __call__(self, do: Work) -> Receipt:
        try:
            handle = await self.saga
            self.accepted = False
            with suppress(WorkflowUpdateFailedError, RPCError):  # refused, or the saga has ended
                await CANCELS[self._who](handle)
                self.accepted = True
            return await self._then(do)
        finally:
            self.over.set()


Shared = tuple[asyncio.Runner, WorkflowEnvironment]


@pytest.fixture(scope="module")
def shared(embedded: str) -> Iterator[Shared]:
    with asyncio.Runner() as runner:
        yield runner, runner.run(real_server(embedded))


@settings(max_examples=20, derandomize=True, deadline=None)
@given(story=stories())
def test_a_random_saga_is_all_done_or_all_undone(shared: Shared, story: Story) -> None:
    runner, server = shared
    note(repr(story))
    runner.run(_run_story(server, story))


@settings(max_examples=8, derandomize=True, deadline=None)
@given(story=stories())
def test_a_random_saga_holds_under_the_other_order_of_jobs(shared: Shared, story: Story) -> None:
    runner, server = shared
    note(repr(story))
    runner.run(_run_story(server, story, single_batch=True))


async def _run_story(server: WorkflowEnvironment, story: Story, *, single_batch: bool = False) -> None:
    reads = [step.forward.name for step in story.tree.steps if not step.undoable]
    services = FakeServices(story.tree.operations, reads)
    harness = Harness(server, services, workflows=(TreeWorkflow,), single_batch=single_batch)
    cancelling = _script(harness.services, story)
    deadline = None if story.deadline_s is None else timedelta(seconds=story.deadline_s)
    async with harness.worker():
        handle = await harness.start(TreeWorkflow, tree=story.tree, deadline=deadline, policies=_POLICIES)
        if cancelling is not None:
            cancelling.saga.set_result(handle)
        end = await harness.end(handle)
        if cancelling is not None and cancelling.accepted is not None:
            await cancelling.over.wait()  # the abandoned call may go on after the end
    note("\n".join(f"{entry.step}: {entry.status}, {entry.attempts} attempts" for entry in end.log.steps))
    note(f"{end.log.state} {end.code}; undone {harness.services.undone}")
    nothing_is_open(end)
    _expect_the_right_end(story, end, cancelling)
    if end.log.state is State.CONFIRMED:
        _expect_all_done(story, harness.services)
    else:
        _expect_all_undone(story, harness.services, end)


def _script(services: FakeServices, story: Story) -> Cancelling | None:
    scripts = {operation: trouble.value for operation, trouble in story.troubles.items()}
    cancelling = None
    if story.cancel is not None:
        who, operation = story.cancel
        script = scripts.get(operation, Script("works"))
        cancelling = Cancelling(who, script.first[0] if script.first else script.then)
        scripts[operation] = replace(script, first=(cancelling, *script.first[1:]))
    for operation, script in scripts.items():
        services.script(operation, *script.first, then=script.then)
    return cancelling


def _expect_the_right_end(story: Story, end: End, cancelling: Cancelling | None) -> None:
    """Expect a confirmation if nothing prevents it, and otherwise a rollback for one of the causes."""
    decisive = {op: _CODES.get(trouble, SOLD_OUT) for op, trouble in story.troubles.items() if trouble in DECISIVE}
    accepted = cancelling is not None and bool(cancelling.accepted)
    if end.log.state is State.CONFIRMED:
        assert not decisive
        assert not (accepted and story.cancel_is_answered), "it has accepted a cancel"
        assert (end.code, end.log.error) == (None, None)
        return
    assert end.log.state is State.ROLLED_BACK
    assert end.log.error is not None
    assert end.log.error.code == end.code
    if end.log.error.step is not None:
        assert decisive[end.log.error.step] == end.code
    elif end.code == DEADLINE_EXCEEDED:
        assert story.deadline_s is not None
    else:
        assert end.code == CANCELLED
        assert accepted, "no cancel was accepted"


def _expect_all_done(story: Story, services: FakeServices) -> None:
    effects = {step.forward.name for step in story.tree.steps if step.undoable}
    promised = {PIVOT.name, *(finish(name).name for name in story.tree.finishes)} if story.tree.pivot else set()
    assert services.of(Effect.HELD) == effects | promised
    assert services.undone == []


def _expect_all_undone(story: Story, services: FakeServices, end: End) -> None:
    assert services.of(Effect.HELD) == set()
    assert not {finish(name).name for name in story.tree.finishes} & set(services.calls)
    undos = {entry.step: entry for entry in end.log.steps if entry.kind is CallKind.UNDO}
    assert {entry.status for entry in undos.values()} <= {Status.DONE}
    assert sorted(undos) == sorted(services.undone), "each undo in the log took effect, and once"
    refused = {entry.step for entry in end.log.steps if entry.status is Status.REFUSED}
    for step in story.tree.steps:
        if step.undo is not None and step.forward.name in services.calls:
            assert (step.undo.name in undos) != (step.forward.name in refused), "undone unless it was refused"
    for earlier, later in in_sequence(story.tree.body):
        first, last = later.undo, earlier.undo
        if first is None or last is None or not {first.name, last.name} <= undos.keys():
            continue
        if undos[first.name].parked_since is None:  # a parked undo does not hold up the others
            assert services.undone.index(first.name) < services.undone.index(last.name), (
                f"{earlier.name} before {later.name}"
            )
