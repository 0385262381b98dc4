"""A trip as data. The workflow runs `PLAN`, and the tests make their cases and expectations from it.

A step that is added here has every failure of it tested, without a change to a test.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from temporal_saga import Operation


@dataclass(frozen=True)
class Booking:
    """The request of every operation: the transaction that it belongs to."""

    transaction_id: str


@dataclass(frozen=True)
class Receipt:
    """The reply of every operation, and the attempt that it answers."""

    step: str
    attempt: int


Act: TypeAlias = Operation[Booking, Receipt]


@dataclass(frozen=True)
class Step:
    operation: Act
    undo: Act | None

    @property
    def name(self) -> str:
        return self.operation.name


@dataclass(frozen=True)
class Group:
    """Branches that run side by side; the steps of one branch run one after the other."""

    branches: tuple[tuple[Step, ...], ...]


def _act(name: str, undoes: Act | None = None) -> Act:
    return Operation(name, Booking, Receipt, queue="each test has its own", undoes=undoes)


def _step(name: str, undo: str | None = None) -> Step:
    forward = _act(name)
    return Step(forward, _act(undo, forward) if undo is not None else None)


PLAN: tuple[Step | Group, ...] = (
    _step("trip.open", "trip.close"),
    _step("visa.check"),  # changes nothing, so there is nothing to undo
    Group(
        (
            (_step("flight.hold", "flight.release"),),
            (_step("hotel.hold", "hotel.release"), _step("transfer.hold", "transfer.release")),
            (_step("museum.hold", "museum.release"),),
        )
    ),
    _step("car.hold", "car.release"),
)
PIVOT = _act("trip.confirm")
FINISHES = (_act("flight.ticket"), _act("hotel.pay"))
BEST_EFFORT = _act("mail.tickets")
"""Best effort, after the finishes."""
ROLLBACK_CALL = _act("mail.regrets")
"""Best effort, at the end of a rollback."""


def branches(part: Step | Group) -> tuple[tuple[Step, ...], ...]:
    return part.branches if isinstance(part, Group) else ((part,),)


STEPS = tuple(step for part in PLAN for branch in branches(part) for step in branch)
UNDOS = tuple(step.undo for step in STEPS if step.undo is not None)
OPERATIONS = (*(step.operation for step in STEPS), *UNDOS, PIVOT, *FINISHES, BEST_EFFORT, ROLLBACK_CALL)
PROMISED = frozenset({step.name for step in STEPS if step.undo} | {PIVOT.name} | {f.name for f in FINISHES})
"""The steps that a confirmed trip holds, besides the best-effort call."""

PAIRS = [
    (failing[0].name, hanging[0].name)
    for part in PLAN
    if isinstance(part, Group)
    for failing in part.branches
    for hanging in part.branches
    if failing is not hanging
]
"""Every two calls that begin side by side."""

Stage: TypeAlias = list[list[str]]
"""The undos of one part of the plan: chains, each in order, that run together."""


def place_of(name: str) -> int:
    """The index in `PLAN` of the part that holds the step."""
    return next(i for i, part in enumerate(PLAN) if name in _names(branches(part)))


def siblings_of(name: str) -> set[str]:
    """The steps of the other branches of the step's group, or the other finishes of a finish."""
    finishes = {finish.name for finish in FINISHES}
    if name in finishes:
        return finishes - {name}
    if name in (PIVOT.name, BEST_EFFORT.name, ROLLBACK_CALL.name):
        return set()
    return set(_names(b for b in branches(PLAN[place_of(name)]) if name not in _names([b])))


def unwinding_from(name: str, *, undone_too: bool) -> list[Stage]:
    """The undos after a failure of the step, stage after stage; `undone_too`: its own among them."""
    place = place_of(name)
    failed: Stage = []
    for branch in branches(PLAN[place]):
        steps = list(branch)
        if name in _names([branch]):
            last = _names([branch]).index(name)
            steps = steps[: last + 1 if undone_too else last]
        failed.append(_undos(steps))
    earlier = [[_undos(branch) for branch in branches(part)] for part in reversed(PLAN[:place])]
    return [[chain for chain in stage if chain] for stage in (failed, *earlier)]


def unwinding_of_all() -> list[Stage]:
    return [[_undos(b) for b in branches(part) if _undos(b)] for part in reversed(PLAN)]


def never_begun_after(name: str) -> list[Step]:
    """The steps that a failure of the step keeps from being begun, in order."""
    place = place_of(name)
    branch = next(b for b in branches(PLAN[place]) if name in _names([b]))
    later = [*branch[_names([branch]).index(name) + 1 :]]
    return later + [step for part in PLAN[place + 1 :] for b in branches(part) for step in b]


def never_called_after(name: str) -> set[str]:
    """The forward operations that a failure of the step keeps from being called at all."""
    later = {step.name for step in never_begun_after(name)}
    return later | {PIVOT.name, BEST_EFFORT.name} | {finish.name for finish in FINISHES}


def _undos(steps: Iterator[Step] | list[Step] | tuple[Step, ...]) -> list[str]:
    return [step.undo.name for step in reversed(list(steps)) if step.undo is not None]


def _names(of: Iterator[tuple[Step, ...]] | list[tuple[Step, ...]] | tuple[tuple[Step, ...], ...]) -> list[str]:
    return [step.name for branch in of for step in branch]
