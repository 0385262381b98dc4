"""What must hold when a trip has ended: of the services first, then of the log."""

from temporal_saga import CallKind, Entry, State, Status

from .harness import End, Harness
from .plan import BEST_EFFORT, FINISHES, PROMISED, ROLLBACK_CALL, STEPS
from .services import Effect

Stage = list[list[str]]
"""Undos that run together: chains, each in order."""


def confirmed(harness: Harness, end: End, *, best_effort: bool = True) -> None:
    services = harness.services
    assert (end.code, end.log.state, end.log.error) == (None, State.CONFIRMED, None)
    assert services.of(Effect.HELD) == PROMISED | ({BEST_EFFORT.name} if best_effort else set())
    assert services.undone == []
    assert ROLLBACK_CALL.name not in services.calls
    nothing_is_open(end)


def rolled_back(harness: Harness, end: End, code: str, *, step: str | None = None, all_undone: bool = False) -> None:
    """Expect that the saga failed with `code`, because of `step`, and undid what it had called and was not refused.

    `all_undone`: once its first step is done, a colocated saga undoes all steps. Its history may not have seen them.
    """
    services = harness.services
    assert end.log.state is State.ROLLED_BACK
    assert end.log.error is not None
    assert (end.code, end.log.error.code, end.log.error.step) == (code, code, step)
    assert services.of(Effect.HELD) == {ROLLBACK_CALL.name}, "nothing is held, and the rollback call is made"
    refused = {entry.step for entry in end.log.steps if entry.status is Status.REFUSED}
    begun = {each.name for each in STEPS} if all_undone else set(services.calls)
    expected = {each.undo.name for each in STEPS if each.undo is not None and each.name in begun - refused}
    assert sorted(services.undone) == sorted(expected)
    assert not {BEST_EFFORT.name, *(finish.name for finish in FINISHES)} & set(services.calls)
    assert services.calls.count(ROLLBACK_CALL.name) == 1
    undos = [entry for entry in end.log.steps if entry.kind is CallKind.UNDO]
    assert {entry.step for entry in undos} == expected
    assert {entry.status for entry in undos} <= {Status.DONE}
    nothing_is_open(end)


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
