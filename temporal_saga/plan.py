"""What a process would do, as data: a `Plan` follows the same body that a `Saga` runs, and records its calls.

A process over a batch of transactions, or without an orchestrator, must know its steps in advance. It derives them from
the body instead of listing them a second time. The body must make the same calls whatever their replies are.
"""

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from typing import Any, TypeAlias

from temporalio import workflow

from temporal_saga.journal import CallKind, Failure
from temporal_saga.operation import Call, Operation, UndoCall

_NO_SAVEPOINT = "a savepoint cannot be planned: which steps stand after it is known only when the saga runs"

Explained: TypeAlias = Callable[[Failure], Any]


@dataclass(frozen=True)
class PlannedCall:
    """A call that a process would make. `undo` is that of a step, `within` and `name` are as in `Saga.step`."""

    kind: CallKind
    operation: Operation[Any, Any]
    request: Any
    undo: Operation[Any, Any] | None = None
    within: timedelta | None = None
    name: str | None = None
    explained: Explained | None = field(default=None, compare=False)
    """Makes the request from the failure that is rolled back. Only a call at the end of a rollback has one."""

    def request_after(self, failure: Failure | None) -> Any:
        """The request of a call at the end of a rollback because of `failure`, where one is known."""
        return self.request if self.explained is None or failure is None else self.explained(failure)


@dataclass(frozen=True)
class Stage:
    """Calls that run side by side. Two stages of one `name` make the same calls.

    `kind` is that of its calls. Only `best_effort` calls may be beside those of another kind.
    """

    calls: tuple[PlannedCall, ...]

    @cached_property
    def kind(self) -> CallKind:
        [kind] = {call.kind for call in self.calls} - {CallKind.BEST_EFFORT} or {CallKind.BEST_EFFORT}
        return kind

    @cached_property
    def name(self) -> str:
        return " ".join(f"{call.kind} {call.operation.name}" for call in self.calls)


@dataclass
class Plan:
    """The stages of one transaction, in order. `rollback_call` ends a rollback from stage `rollback_call_from` on.

    `patches` are those of the saga that the plan is about, for a plan that a query makes.
    """

    stages: list[Stage] = field(default_factory=list)
    rollback_call: PlannedCall | None = None
    rollback_call_from: int = 0
    patches: Mapping[str, bool] = field(default_factory=dict)
    _group: list[PlannedCall] | None = None

    @property
    def undos(self) -> list[tuple[Operation[Any, Any], Any]]:
        """The undos of all steps with their requests, in the order of the steps."""
        calls = [call for stage in self.stages for call in stage.calls]
        return [(call.undo, call.request) for call in calls if call.undo is not None]

    def follow(self, body: Coroutine[Any, Any, Any]) -> None:
        """Record the calls of `body`."""
        try:
            body.send(None)
        except StopIteration:
            return
        body.close()
        raise RuntimeError("only calls of the saga can be planned: nothing else may be awaited")

    # --- the verbs of `Saga` ------------------------------------------------------------------------------------------

    def patched(self, patch_id: str) -> bool:
        """As `Saga.patched`. A query and a program outside may not ask Temporal: for them a guard that the saga has not
        come to is one that it will pass, as it runs on with this code."""
        if workflow.in_workflow() and not workflow.unsafe.is_read_only():
            return workflow.patched(patch_id)
        return self.patches.get(patch_id, True)

    async def step(
        self,
        operation: Call[Any, Any],
        request: Any,
        *,
        undo: UndoCall[Any] | None = None,
        attempt_timeout: timedelta | None = None,  # noqa: ARG002 — the signature of `Saga.step`
        within: timedelta | None = None,
        name: str | None = None,
    ) -> Any:
        self._note(
            PlannedCall(CallKind.STEP, Operation.of(operation), request, undo and Operation.undo_of(undo), within, name)
        )

    async def wait_for(
        self,
        holds: Callable[[], Any],
        *,
        name: str,
        timeout: timedelta,  # noqa: ASYNC109 — the signature of `Saga.wait_for`
        otherwise: Any = None,
    ) -> Any:
        """Record nothing: a wait is no call. It is `None`, and the body must make the same calls whatever it is."""

    def savepoint(self, name: str) -> Any:  # noqa: ARG002 — the signature of `Saga.savepoint`
        raise TypeError(_NO_SAVEPOINT)

    async def undo_to(self, point: Any) -> None:  # noqa: ARG002 — the signature of `Saga.undo_to`
        raise TypeError(_NO_SAVEPOINT)

    async def parallel(self, *calls: Coroutine[Any, Any, Any]) -> Any:
        if self._group is not None:
            raise RuntimeError("a group within a group cannot be planned")
        self._group = group = list[PlannedCall]()
        for call in calls:
            await call
        self._group = None
        self.stages.append(Stage(tuple(group)))

    async def pivot(
        self, operation: Call[Any, Any], request: Any, *, within: timedelta | None = None, name: str | None = None
    ) -> Any:
        self._note(PlannedCall(CallKind.PIVOT, Operation.of(operation), request, None, within, name))

    async def finish(
        self, operation: Call[Any, Any], request: Any, *, within: timedelta | None = None, name: str | None = None
    ) -> Any:
        self._note(PlannedCall(CallKind.FINISH, Operation.of(operation), request, None, within, name))

    async def best_effort(self, operation: Call[Any, Any], request: Any) -> Any:
        self._note(PlannedCall(CallKind.BEST_EFFORT, Operation.of(operation), request))

    def on_rollback(self, operation: Call[Any, Any], request: Any, *, explained: Explained | None = None) -> None:
        self.rollback_call = PlannedCall(CallKind.BEST_EFFORT, Operation.of(operation), request, explained=explained)
        self.rollback_call_from = len(self.stages)

    def _note(self, call: PlannedCall) -> None:
        if self._group is None:
            self.stages.append(Stage((call,)))
        else:
            self._group.append(call)
