"""A saga as nodes and edges: what its plan has, and how far each call of it went."""

from collections.abc import Sequence
from enum import StrEnum
from itertools import pairwise, product

from pydantic import BaseModel

from temporal_saga import CallKind, Entry, Plan, PlannedCall, Stage, Status, TransactionLog


class EdgeKind(StrEnum):
    """NEXT: made when all calls before it are done. UNDO: from a step to its undo. ROLLBACK: made when all undos before
    it are done."""

    NEXT = "next"
    UNDO = "undo"
    ROLLBACK = "rollback"


class Phase(StrEnum):
    """Where a stage is beside the pivot."""

    PREPARE = "prepare"
    PIVOT = "pivot"
    COMMIT = "commit"


_PHASES = {CallKind.STEP: Phase.PREPARE, CallKind.PIVOT: Phase.PIVOT}


class Node(BaseModel):
    """One call. `stage` counts from 0, and an undo is in the stage of its step; calls of one stage run side by side.

    `status`, `error_code` and `attempts` are those of the log: unset for a call that was not made, or without a log.
    """

    id: str
    operation: str
    kind: CallKind
    phase: Phase
    stage: int
    name: str | None = None
    status: Status | None = None
    error_code: str | None = None
    attempts: int | None = None

    @property
    def words(self) -> list[str]:
        """The lines of its box."""
        called = self.operation if self.name is None else f"{self.name}: {self.operation}"
        said = " ".join(filter(None, [self.status, self.error_code]))
        return [called, *([said] if said else [])]


class Edge(BaseModel):
    start: str
    end: str
    kind: EdgeKind


class Picture(BaseModel):
    """`title` names the order and its state; it is empty for a plan alone."""

    title: str
    nodes: list[Node]
    edges: list[Edge]

    @property
    def is_of_a_log(self) -> bool:
        return bool(self.title)

    def stages(self) -> list[list[Node]]:
        """The calls of the way forward, by stage."""
        forward = [node for node in self.nodes if node.kind is not CallKind.UNDO and node not in self.after_undos]
        return [[node for node in forward if node.stage == at] for at in range(max(n.stage for n in forward) + 1)]

    @property
    def after_undos(self) -> list[Node]:
        """The calls that end a rollback and undo nothing."""
        ends = {edge.end for edge in self.edges if edge.kind is EdgeKind.ROLLBACK}
        return [node for node in self.nodes if node.id in ends and node.kind is not CallKind.UNDO]

    def undo_of(self, node: Node) -> Node | None:
        ends = {edge.end for edge in self.edges if edge.kind is EdgeKind.UNDO and edge.start == node.id}
        return next((each for each in self.nodes if each.id in ends), None)


def picture_of(plan: Plan, log: TransactionLog | None = None, title: str = "") -> Picture:
    """The picture of `plan`, with what `log` knows of its calls."""
    drawing = _Drawing(log.steps if log else ())
    forward = [
        [drawing.add(call.kind, call, at, stage) for call in stage.calls] for at, stage in enumerate(plan.stages)
    ]
    undos = []
    for at, (stage, nodes) in enumerate(zip(plan.stages, forward, strict=True)):
        undone = []
        for call, node in zip(stage.calls, nodes, strict=True):
            if call.undo is not None:
                planned = PlannedCall(CallKind.UNDO, call.undo, call.request, name=call.name)
                undone.append(drawing.add(CallKind.UNDO, planned, at, stage))
                drawing.join([node], undone[-1:], EdgeKind.UNDO)
        undos += [undone] if undone else []
    if plan.rollback_call is not None and undos:
        undos.insert(0, [drawing.add(CallKind.BEST_EFFORT, plan.rollback_call, 0, plan.stages[0])])
    for before, after in pairwise(forward):
        drawing.join(before, after, EdgeKind.NEXT)
    for earlier, later in pairwise(undos):
        drawing.join(later, earlier, EdgeKind.ROLLBACK)
    return Picture(title=title, nodes=drawing.nodes, edges=drawing.edges)


class _Drawing:
    def __init__(self, entries: Sequence[Entry]) -> None:
        self.nodes: list[Node] = []
        self.edges: list[Edge] = []
        self._left = list(entries)

    def add(self, kind: CallKind, call: PlannedCall, at: int, stage: Stage) -> Node:
        node = Node(
            id=f"c{len(self.nodes) + 1}",
            operation=call.operation.name,
            kind=kind,
            phase=_PHASES.get(stage.kind, Phase.COMMIT),
            stage=at,
            name=call.name,
        )
        if (entry := self._entry_of(node)) is not None:
            node.status, node.error_code, node.attempts = entry.status, entry.error_code, entry.attempts
        self.nodes.append(node)
        return node

    def join(self, before: Sequence[Node], after: Sequence[Node], kind: EdgeKind) -> None:
        self.edges += [Edge(start=one.id, end=other.id, kind=kind) for one, other in product(before, after)]

    def _entry_of(self, node: Node) -> Entry | None:
        """The last entry of the node's call. The journal numbers calls of one operation: `payment.cancel#2`.

        In a choreography the decision to cancel is journaled as a pivot, although it is an undo in the plan.
        """
        forward = node.kind is not CallKind.UNDO
        found = [
            entry
            for entry in self._left
            if entry.operation == node.operation
            and (entry.name == node.name or entry.name is None)
            and (not forward or entry.kind is node.kind)
        ]
        return found[-1] if found else None
