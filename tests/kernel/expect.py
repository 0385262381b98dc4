"""What must hold when a trip has ended: of the services first, then of the log."""

from __future__ import annotations

from temporal_saga import CallKind, Entry, State, Status

from .harness import End, Harness
from .plan import (
    BEST_EFFORT,
    PROMISED,
    ROLLBACK_CALL,
    STEPS,
    UNDOS,
    Stage,
    never_begun_after,
    never_called_after,
    unwinding_from,
)
from .services import SOLD_OUT, Effect


def confirmed(harness: Harness, end: End, *, best_effort: bool = True) -> None:
    services = harness.services
    assert (end.code, end.log.state, end.log.error) == (None, State.CONFIRMED, None)
    assert services.of(Effect.HELD) == PROMISED | ({BEST_EFFORT.name} if best_effort else set())
    assert services.undone == []
    assert ROLLBACK_CALL.name not in services.calls
    nothing_is_open(end)


def rolled_back(harness: Harness, end: End, code: str, stages: list[Stage], *, step: str | None = None) -> None:
    """Expect that the saga failed with `code`, because of `step`, and undid exactly `stages`."""
    services = harness.services
    assert end.log.state is State.ROLLED_BACK
    assert end.log.error is not None
    assert (end.code, end.log.error.code, end.log.error.step) == (code, code, step)
    assert services.of(Effect.HELD) == {ROLLBACK_CALL.name}, "nothing is held, and the rollback call is made"
    assert in_order(services.undone, stages), f"{services.undone} instead of {stages}"
    assert services.calls.count(ROLLBACK_CALL.name) == 1
    undos = [entry for entry in end.log.steps if entry.kind is CallKind.UNDO]
    assert {entry.step for entry in undos} == set(services.undone) <= {undo.name for undo in UNDOS}
    assert {entry.status for entry in undos} <= {Status.DONE}
    nothing_is_open(end)


def rolled_back_from(
    harness: Harness, end: End, step: str, code: str, *, undone_too: bool, blamed: bool = True, colocated: bool = False
) -> None:
    """Expect `rolled_back` of a saga that failed at `step`; `undone_too`: the step itself had to be undone.

    Once its first step is done, a colocated saga undoes the later steps first: its history may not have seen them.
    """
    stages = unwinding_from(step, undone_too=undone_too)
    if colocated and step != STEPS[0].name:
        stages = [[[later.undo.name]] for later in reversed(never_begun_after(step)) if later.undo] + stages
    rolled_back(harness, end, code, stages, step=step if blamed else None)
    assert not set(harness.services.calls) & never_called_after(step)


def nothing_is_open(end: End) -> None:
    assert [entry for entry in end.log.steps if entry.ended_at is None] == []
    assert {entry.status for entry in end.log.steps} <= {Status.DONE, Status.REFUSED, Status.UNKNOWN}


def entry_of(end: End, step: str) -> Entry:
    return next(entry for entry in end.log.steps if entry.step == step)


def in_order(undone: list[str], stages: list[Stage]) -> bool:
    """Whether the undos came stage after stage, and within a stage each chain in its order."""
    rest = list(undone)
    for stage in stages:
        size = sum(map(len, stage))
        now, rest = rest[:size], rest[size:]
        if any([name for name in now if name in chain] != chain for chain in stage):
            return False
    return not rest


def everything_undone(harness: Harness, end: End) -> None:
    """Expect that all steps were undone in any order: a parked undo does not hold up the others."""
    assert (end.code, end.log.state) == (SOLD_OUT, State.ROLLED_BACK)
    assert sorted(harness.services.undone) == sorted(undo.name for undo in UNDOS)
    assert harness.services.of(Effect.HELD) == {ROLLBACK_CALL.name}
    nothing_is_open(end)
