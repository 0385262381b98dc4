"""A saga of any shape as data. `TreeWorkflow` runs it; the random sagas are made of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, product

from temporal_saga import Operation

from .plan import Act, Booking, Receipt


@dataclass(frozen=True)
class Node:
    """A step, or, if it has branches, a group of them that run side by side."""

    name: str = ""
    undoable: bool = True
    """A step without an undo changes nothing."""
    branches: tuple[tuple[Node, ...], ...] = ()

    @property
    def forward(self) -> Act:
        return _act(f"{self.name}.do")

    @property
    def undo(self) -> Act | None:
        return _act(f"{self.name}.undo", undoes=self.forward) if self.undoable else None


@dataclass(frozen=True)
class Tree:
    body: tuple[Node, ...]
    pivot: bool = True
    finishes: tuple[str, ...] = ()
    """They run side by side after the pivot."""

    @property
    def steps(self) -> tuple[Node, ...]:
        return tuple(steps_of(self.body))

    @property
    def operations(self) -> tuple[Act, ...]:
        undos = (step.undo for step in self.steps if step.undo is not None)
        return (*(step.forward for step in self.steps), *undos, PIVOT, *map(finish, self.finishes))


PIVOT: Act = Operation("pivot.decide", Booking, Receipt, queue="each test has its own")


def finish(name: str) -> Act:
    return _act(f"{name}.finish")


def _act(name: str, undoes: Act | None = None) -> Act:
    return Operation(name, Booking, Receipt, queue="each test has its own", undoes=undoes)


def steps_of(nodes: Sequence[Node]) -> Iterator[Node]:
    for node in nodes:
        if node.branches:
            for branch in node.branches:
                yield from steps_of(branch)
        else:
            yield node


def in_sequence(nodes: Sequence[Node]) -> Iterator[tuple[Node, Node]]:
    """Every two steps of which the first must be done before the second begins."""
    for earlier, later in combinations(nodes, 2):
        yield from product(steps_of([earlier]), steps_of([later]))
    for node in nodes:
        for branch in node.branches:
            yield from in_sequence(branch)
