"""What must hold at an end: of the services first, then of the log."""

from __future__ import annotations

from saga import CallKind, Entry, State, Status

from .agency import Agency, End
from .plan import COURTESY, FAREWELL, PROMISED, UNDOS, Stage, never_called_after, unwinding_from
from .world import Effect


def confirmed(agency: Agency, end: End, *, courtesy: bool = True) -> None:
    world = agency.world
    assert (end.code, end.log.state, end.log.error) == (None, State.CONFIRMED, None)
    assert world.of(Effect.HELD) == PROMISED | ({COURTESY.name} if courtesy else set())
    assert world.undone == []
    assert FAREWELL.name not in world.calls
    nothing_is_open(end)


def rolled_back(agency: Agency, end: End, code: str, stages: list[Stage], *, step: str | None = None) -> None:
    """The saga failed with `code`, on account of `step`, and undid exactly `stages`."""
    world = agency.world
    assert end.log.state is State.ROLLED_BACK
    assert end.log.error is not None
    assert (end.code, end.log.error.code, end.log.error.step) == (code, code, step)
    assert world.of(Effect.HELD) == {FAREWELL.name}, "nothing is held, and the traveller is told"
    assert in_order(world.undone, stages), f"{world.undone} instead of {stages}"
    assert world.calls.count(FAREWELL.name) == 1
    undos = [entry for entry in end.log.steps if entry.kind is CallKind.UNDO]
    assert {entry.step for entry in undos} == set(world.undone) <= {undo.name for undo in UNDOS}
    assert {entry.status for entry in undos} <= {Status.DONE}
    nothing_is_open(end)


def rolled_back_from(agency: Agency, end: End, step: str, code: str, *, undone_too: bool, blamed: bool = True) -> None:
    """As `rolled_back`, for a saga that got as far as `step`; `undone_too`: the step itself had to be undone."""
    stages = unwinding_from(step, undone_too=undone_too)
    rolled_back(agency, end, code, stages, step=step if blamed else None)
    assert not set(agency.world.calls) & never_called_after(step)


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
