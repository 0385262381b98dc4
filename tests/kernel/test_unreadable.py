"""Replies that a workflow cannot read: the outcome is unknown, also for a later build that can read them."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import pytest

from temporal_saga import POLICIES, Policies, State, Status
from temporal_saga.outcome import UNREADABLE_REPLY

from . import expect, workflows
from .cancels import by_business, by_temporal
from .harness import Harness
from .plan import BEST_EFFORT, FINISHES, PIVOT, STEPS, UNDOS, Act, Receipt
from .policies import COLOCATED, MINUTE
from .services import SOLD_OUT, Work, refuse, work

every_policy = pytest.mark.parametrize("policies", [POLICIES, COLOCATED], ids=["queue", "colocated"])
every_promise = pytest.mark.parametrize("operation", [PIVOT.name, FINISHES[0].name])


def answers(reply: Any) -> Callable[[Work], Any]:
    """A service of another version: it does the work, and replies in a form of its own."""

    async def behaviour(do: Work) -> Receipt:
        do()
        return cast("Receipt", reply)

    return behaviour


garble = answers({"words": "of a later version"})


@every_policy
@pytest.mark.parametrize("step", ["flight.hold", STEPS[-1].name])
async def test_a_step_whose_reply_cannot_be_read_is_undone(harness: Harness, step: str, policies: Policies) -> None:
    harness.services.script(step, then=garble)
    end = await harness.run(policies=policies)
    expect.rolled_back(harness, end, UNREADABLE_REPLY, step=step, all_undone=policies.are_colocated)
    assert expect.entry_of(end, step).status is Status.UNKNOWN


@pytest.mark.parametrize("reply", [None, {"step": [], "attempt": "x"}])
async def test_a_reply_of_any_other_form_is_of_an_unknown_outcome(harness: Harness, reply: Any) -> None:
    step = STEPS[-1].name
    harness.services.script(step, then=answers(reply))
    end = await harness.run()
    expect.rolled_back(harness, end, UNREADABLE_REPLY, step=step)
    assert "\n" not in end.message


async def test_an_unknown_field_of_a_reply_is_ignored(harness: Harness) -> None:
    step = STEPS[-1].name
    harness.services.script(step, then=answers({"step": step, "attempt": 1, "colour": "red"}))
    expect.confirmed(harness, await harness.run())


@every_promise
async def test_past_the_pivot_a_call_whose_reply_cannot_be_read_is_parked_and_made_again(
    harness: Harness, operation: str
) -> None:
    harness.services.script(operation, then=garble)
    handle = await harness.start(deadline=MINUTE)
    await harness.later(2 * MINUTE)
    log = await harness.log(handle)
    assert log.state is State.PARKED
    [parked] = [entry for entry in log.steps if entry.parked_since]
    assert (parked.step, parked.error_code) == (operation, UNREADABLE_REPLY)
    harness.services.script(operation, then=work)
    end = await harness.end(handle)
    expect.confirmed(harness, end)


async def test_an_undo_whose_reply_cannot_be_read_is_parked(harness: Harness) -> None:
    undo = UNDOS[0].name
    harness.services.script(PIVOT.name, then=refuse)
    harness.services.script(undo, garble)
    end = await harness.run()
    expect.rolled_back(harness, end, SOLD_OUT, step=PIVOT.name)
    assert expect.entry_of(end, undo).parked_since is not None


async def test_a_best_effort_call_whose_reply_cannot_be_read_changes_nothing(harness: Harness) -> None:
    harness.services.script(BEST_EFFORT.name, then=garble)
    end = await harness.run()
    expect.confirmed(harness, end)
    assert expect.entry_of(end, BEST_EFFORT.name).error_code == UNREADABLE_REPLY


@pytest.mark.parametrize("cancel", [by_business, by_temporal])
async def test_a_saga_with_an_unreadable_reply_can_be_cancelled(harness: Harness, cancel: Any) -> None:
    """The workflow is not stuck: it takes updates, and its timers fire."""
    opening, later = STEPS[0].name, STEPS[-1].name
    harness.services.script(opening, garble)
    gate = harness.services.gate(UNDOS[0].name)
    handle = await harness.start()
    await gate.reached.wait()
    await cancel(handle)
    gate.open.set()
    end = await harness.end(handle)
    expect.rolled_back(harness, end, UNREADABLE_REPLY, step=opening)
    assert later not in harness.services.calls


@pytest.mark.parametrize("max_cached_workflows", [0])
@pytest.mark.parametrize("operation", [STEPS[-1].name, PIVOT.name])
async def test_a_build_that_can_read_the_reply_decides_as_the_one_that_could_not(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    """A newer build is the remedy: it replays the decisions of the older one, and goes on from there."""
    harness.services.script(operation, garble)
    handle = await harness.start()
    last_undo = harness.services.gate(STEPS[0].undo.name) if STEPS[0].undo and operation == STEPS[-1].name else None
    if last_undo is not None:
        await last_undo.reached.wait()
    else:
        await harness.until_known(handle)
    monkeypatch.setattr(workflows, "served_here", _reads_anything(workflows.served_here))
    if last_undo is not None:
        last_undo.open.set()
        end = await harness.end(handle)
        expect.rolled_back(harness, end, UNREADABLE_REPLY, step=operation)
    else:
        expect.confirmed(harness, await harness.end(handle))


def _reads_anything(served: Callable[[Act], Act]) -> Callable[[Act], Act]:
    return lambda operation: replace(served(operation), reply=cast("type[Receipt]", dict))
