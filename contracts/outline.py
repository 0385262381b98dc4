"""The outline of a saga: the calls of its plan without their requests, as the query `outline` of a workflow returns it.

A client that must not import the workflows learns from it what a saga is still going to do.
"""

from typing import Self

from pydantic import StrictInt

from contracts.message import Message
from temporal_saga import CallKind, Plan, PlannedCall

OUTLINE = "outline"
"""The query of every workflow that runs a saga, or decides about one. That of a batch takes an order's id."""


class OutlinedCall(Message):
    """`name` is the workflow's own for the step, `undo` the operation that undoes it."""

    operation: str
    kind: CallKind
    name: str | None = None
    undo: str | None = None

    @classmethod
    def of(cls, call: PlannedCall) -> Self:
        undo = None if call.undo is None else call.undo.name
        return cls(operation=call.operation.name, kind=call.kind, name=call.name, undo=undo)


class Outline(Message):
    """The stages of a saga in order; the calls of one stage run side by side.

    `rollback_call` ends a rollback that has come to the stage `rollback_call_from` or beyond.
    """

    stages: tuple[tuple[OutlinedCall, ...], ...] = ()
    rollback_call: OutlinedCall | None = None
    rollback_call_from: StrictInt = 0

    @classmethod
    def of(cls, plan: Plan) -> Self:
        last = plan.rollback_call
        return cls(
            stages=tuple(tuple(map(OutlinedCall.of, stage.calls)) for stage in plan.stages),
            rollback_call=None if last is None else OutlinedCall.of(last),
            rollback_call_from=plan.rollback_call_from,
        )
