"""Rollback: undos (compensations) as data, the stack that steps push them onto, and the unwinding that runs them."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextvars import ContextVar
from copy import deepcopy
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Generic, TypeVar

from temporal_saga.calls import PersistentCalls
from temporal_saga.earlier import EarlierExecutions
from temporal_saga.journal import CallKind, Journal, Status
from temporal_saga.operation import Operation, Request
from temporal_saga.outcome import Done, Outcome, Refused, Unknown
from temporal_saga.plan import PlannedCall
from temporal_saga.policy import Policies, Policy
from temporal_saga.waiting import until

T = TypeVar("T")


@dataclass(eq=False)  # two calls of one operation are two undos, each at its own place on the stack
class Undo(Generic[Request]):
    """What to call, with which request, and how long one round of it may take. `name` is that of its step.

    `reply` is what the step has replied, once that is known.
    """

    operation: Operation[Request, Any]
    request: Request
    policy: Policy
    name: str | None = None
    reply: Any = None

    def is_of_same_step_as(self, other: Undo[Any]) -> bool:
        """Whether both take back one effect: the same call with the same request."""
        return (self.operation.name, self.request) == (other.operation.name, other.request)


@dataclass(frozen=True, eq=False)
class Savepoint:
    """A place on the stack to which a workflow can go back (`Saga.undo_to`). `name` is shown in the log."""

    name: str


class UndoStack(list["Undo[Any] | list[UndoStack] | Savepoint"]):
    """A stack of undos. A parallel group is one element of it: a list of stacks, which are unwound together."""

    def branch(self, count: int) -> list[UndoStack]:
        """Push a parallel group of `count` calls, and return a stack for the undos of each."""
        branches = [UndoStack() for _ in range(count)]
        self.append(branches)
        return branches


current_stack: ContextVar[UndoStack] = ContextVar("current_stack")
"""The stack that a step pushes its undo onto: the saga's own, or that of the step's branch in a parallel group."""


def stack_here() -> UndoStack:
    """The current stack. Raises `RuntimeError` outside of the saga's block: a signal handler, for example, has none."""
    stack = current_stack.get(None)
    if stack is None:
        raise RuntimeError("use a saga within its block, not in a handler: what is done here could not be undone")
    return stack


async def on_stack(stack: UndoStack, call: Coroutine[Any, Any, T]) -> T:
    """Run `call` with `stack` as its current one. Must have a task of its own, whose context the change stays in."""
    current_stack.set(stack)
    return await call


class Rollback:
    """What undoes a saga: the stack of its undos, and those of the steps that only another execution may have done."""

    def __init__(
        self, journal: Journal, calls: PersistentCalls, policies: Policies, earlier: EarlierExecutions
    ) -> None:
        self.stack = UndoStack()
        self.last_call: PlannedCall | None = None
        """A `best_effort` call at the end of a rollback."""
        self.has_opened = False
        """The first step is done or may be, so all that is done under the saga's id belongs to it: its reply may have
        come together with a cancel, after a worker had gone on from it."""
        self._is_disowned = False
        self._undone_to_savepoints: list[Undo[Any]] = []
        self._unknown: list[Undo[Any]] = []
        self._done: list[Undo[Any]] = []
        self._undo_tasks: list[asyncio.Task[Any]] = []
        self._journal = journal
        self._calls = calls
        self._policies = policies
        self._earlier = earlier

    # --- going forward ------------------------------------------------------------------------------------------------

    def push(
        self,
        stack: UndoStack,
        undo: Operation[Request, Any],
        request: Request,
        within: timedelta | None,
        name: str | None,
    ) -> Undo[Request]:
        # A copy: the workflow may go on with its own, and the undo must get what the step got.
        pushed = self._undo_of(undo, deepcopy(request), within, name)
        stack.append(pushed)
        return pushed

    def settle(self, stack: UndoStack, pushed: Undo[Any], ended: Outcome[Any]) -> None:
        """Keep or drop the undo of a step that has ended. A refused step has left nothing to undo, unless an earlier
        execution has done it."""
        if isinstance(ended, Done):
            pushed.reply = ended.reply
            self._done.append(pushed)
        if isinstance(ended, Refused) and not self._earlier.may_be_ahead:
            stack.remove(pushed)
        if isinstance(ended, Unknown):
            self._unknown.append(pushed)

    def has_undone(self, pushed: Undo[Any]) -> bool:
        """Whether this execution has undone the same step for a savepoint. STEP_UNDONE then tells of no other one."""
        return any(undo.is_of_same_step_as(pushed) for undo in self._undone_to_savepoints)

    def assume_prepared(self, but: Operation[Any, Any] | None = None) -> None:
        for undo, call in self._earlier.unseen():
            pushed = self._undo_of(undo, call.request, call.within, call.name)
            if undo is not but:
                self.stack.append(pushed)
        self.last_call = self.last_call or self._earlier.follow().rollback_call

    def was_decided(self) -> None:
        """Keep the steps that did not answer this execution: an earlier one has passed the pivot, so they are done."""
        self._unknown.clear()

    def disown(self) -> None:
        """Leave alone what is done under the saga's id: it belongs to another saga, so nobody is told of it."""
        self._is_disowned = True
        self.last_call = None

    def _undo_of(
        self, undo: Operation[Request, Any], request: Request, within: timedelta | None, name: str | None
    ) -> Undo[Request]:
        self._earlier.note_undo(undo.name, name)
        return Undo(undo, request, self._policies.undo.bounded_by(within), name)

    # --- going back ---------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Undo all that was begun, and each foreseen step that another execution may have done beyond this one.

        That may be an earlier execution of the saga or, where calls are made before the history has them, a worker
        that is thought dead. Such a worker cannot have begun before the first step was in the history.
        """
        if self._is_disowned:
            return
        if self._earlier.may_be_ahead or (self._policies.are_colocated and self.has_opened):
            self.assume_prepared()
        await self._unwind_to_the_end(self.stack)

    async def run_unknown(self) -> None:
        """Undo the steps of unknown outcome of a saga that is confirmed: its workflow went another way after them.

        Not one that was made once more, and done: it has one effect, which is in use.
        """
        left = [undo for undo in self._unknown if not any(undo.is_of_same_step_as(done) for done in self._done)]
        await self._unwind_to_the_end(UndoStack(left))

    async def run_to(self, point: Savepoint) -> None:
        """Undo what was begun since `point`, which stays. A parked undo goes on beside what the workflow does next."""
        stack = stack_here()
        since = UndoStack(stack[stack.index(point) + 1 :])
        del stack[stack.index(point) + 1 :]
        await self._unwind(since, point)

    async def _unwind_to_the_end(self, stack: UndoStack) -> None:
        await self._unwind(stack)
        await asyncio.gather(*self._undo_tasks)

    async def _unwind(self, stack: UndoStack, point: Savepoint | None = None) -> None:
        """Run the undos in reverse order, those of a parallel group together."""
        while stack:
            top = stack.pop()
            if isinstance(top, Undo):
                await self._undo(top, point)
            elif isinstance(top, list):
                await asyncio.gather(*(self._unwind(branch, point) for branch in top))

    async def _undo(self, undo: Undo[Any], point: Savepoint | None) -> None:
        """Return when the undo is done, or parked: its task then goes on beside the rest of the unwinding."""
        entry = self._journal.begin(undo.operation.name, CallKind.UNDO, undo.name)
        if point is not None:
            entry.note = f"undone to the savepoint {point.name}"
            self._undone_to_savepoints.append(undo)
        if undo in self._unknown:
            self._unknown.remove(undo)
        call = self._calls.until_done(entry, undo.operation, undo.request, undo.policy, reply=undo.reply)
        task = asyncio.create_task(call)
        self._undo_tasks.append(task)
        await until(lambda: entry.status not in (Status.RUNNING, Status.WAITING) or task.done())
