"""A trip as data. The workflow runs `PLAN`; a step that is added has every fault put into it (`test_every_fault`)."""

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
    repeated: bool = False


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

PAIRS = (("flight.hold", "hotel.hold"), ("museum.hold", "hotel.hold"))
"""Calls that begin side by side, of which a test has one fail and the other hang."""


def siblings_of(name: str) -> set[str]:
    """The steps of the other branches of the step's group, or the other finishes of a finish."""
    groups = [part.branches for part in PLAN if isinstance(part, Group)]
    names = [[[step.name for step in branch] for branch in branches] for branches in groups]
    names.append([[finish.name] for finish in FINISHES])
    return {
        other
        for group in names
        if any(name in branch for branch in group)
        for branch in group
        if name not in branch
        for other in branch
    }
