"""The saga: steps forward, a stack of undos, a pivot, and an unwinding that nothing stops.

The rules, and where they are kept:

- an undo is data and is pushed *before* its step is dispatched (`step`), so a step with an unknown outcome is undone;
- undos run in reverse, those of a parallel group together (`_unwind`), each until it is done (`saga.calls`);
- what does not get through is parked: visible, tried again in rounds, and in nobody's way (`_undo`);
- before the pivot a deadline or a cancel interrupts the body (`_interrupt`), after it nothing does
  (`run_to_completion`);
- where an earlier execution of the saga may have passed the pivot, no step is given up before that is known
  (`_answer`), and where one may have done more than this one, a rollback undoes that too (`_assume_unseen`);
- a bug (any exception that is not a Temporal failure) fails the workflow task and is retried after a fix: it never
  starts an unwinding.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextvars import ContextVar, Token
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import Enum, auto
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from temporalio import workflow
from temporalio.exceptions import ApplicationError

from saga import outcome
from saga.calls import PersistentCalls, attempt
from saga.desk import Desk
from saga.earlier import Body, EarlierExecutions
from saga.interruption import deadline_exceeded
from saga.journal import CallKind, Entry, Failure, Journal, State, Status, TransactionLog
from saga.operation import Operation, Reply, Request
from saga.outcome import Done, Outcome, Refused, Unknown
from saga.policy import POLICIES, Policies, Policy
from saga.waiting import run_to_completion, until

T = TypeVar("T")


class StepFailed(Exception):
    """A forward step was refused, or its outcome is unknown. Left alone it rolls the saga back; `failure` says why."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(f"{failure.code}: {failure.message}")
        self.failure = failure


class CancelRefused(Exception):
    """The pivot has been reached: the saga can only go forward."""


@dataclass(frozen=True, eq=False)  # two calls of one operation are two undos, each at its own place on the stack
class Undo(Generic[Request]):
    """A compensation as data: what to call, with which request, and how long one round of it may take."""

    operation: Operation[Request, Any]
    request: Request
    policy: Policy
    name: str | None = None


class Branch(list["Undo[Any] | list[Branch]"]):
    """A stack of undos. A parallel group is one element of it: a list of branches, unwound together."""


_BRANCH: ContextVar[Branch] = ContextVar("branch")
"""The stack that a step pushes its undo onto: the saga's own, or the one of its call in a parallel group."""


class _Phase(Enum):
    PREPARING = auto()
    UNWINDING = auto()
    COMMITTED = auto()  # the pivot has been asked for: from here on only forward, unless it is refused


class Saga:
    """One saga, used as `async with Saga(...) as saga:` in a workflow's `run`.

    Left without an error it ends CONFIRMED. Left by a failure it unwinds and raises an `ApplicationError` whose type is
    the error code and whose one detail is the `TransactionLog`. `deadline` bounds the phase before the pivot. Either
    end says `WITH_SKIPS` where an operator has left a call undone.
    """

    def __init__(
        self, transaction_id: str, *, deadline: timedelta | None = None, policies: Policies = POLICIES
    ) -> None:
        self.desk = Desk()
        self._journal = Journal(transaction_id)
        self._calls = PersistentCalls(self._journal, self.desk, policies.rounds)
        self._deadline = deadline
        self._policies = policies
        self._phase = _Phase.PREPARING
        self._earlier = EarlierExecutions()
        self._opened = False
        self._undos = Branch()
        self._unknown = Branch()
        self._rollback_call: Undo[Any] | None = None
        self._parked: list[asyncio.Task[Any]] = []
        self._interruption: Failure | None = None
        self._body: asyncio.Task[Any] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._due: float | None = None
        self._outer_branch: Token[Branch]

    @property
    def log(self) -> TransactionLog:
        """The transaction log as it stands now."""
        return self._journal.log

    @property
    def is_rerun(self) -> bool:
        """Whether this run repeats an earlier one of the same workflow: it was reset, or the server began it again."""
        return self._earlier.is_rerun

    # --- what a workflow writes ---------------------------------------------------------------------------------------

    async def step(
        self,
        operation: Operation[Request, Reply],
        request: Request,
        *,
        undo: Operation[Request, Any] | None = None,
        attempt_timeout: timedelta | None = None,
        within: timedelta | None = None,
        name: str | None = None,
    ) -> Reply:
        """Run `operation`; should the saga fail from here on, run `undo` with the same request.

        `attempt_timeout` replaces the policy's. `within` bounds the whole step, retries included, and each round of
        its undo. `name` is the step's in the log. Raises `StepFailed`.
        """
        self._require(_Phase.PREPARING)
        branch = _BRANCH.get()
        compensation = None if undo is None else self._compensation(undo, request, within, name)
        if compensation is not None:
            branch.append(compensation)
        opening = not self.log.steps
        entry = self._journal.begin(operation.name, CallKind.STEP, name)
        forward = self._policies.forward if within is None else self._policies.forward.retried_for(within)
        policy = forward if attempt_timeout is None else forward.with_attempt_timeout(attempt_timeout)
        if opening:  # whether there is a saga at all must be in the history before anybody can run ahead of that
            policy = policy.recorded_first()
        ended = await self._answer(entry, operation, request, policy, _bounded(self._policies.finish, within))
        self._opened = self._opened or (opening and isinstance(ended, Done))
        if isinstance(ended, Refused) and ended.code == outcome.STEP_UNDONE:
            self._unwinds_elsewhere(Failure(ended.code, ended.message, entry.step))
        if compensation is not None and isinstance(ended, Refused) and not self._earlier.may_be_ahead:
            branch.remove(compensation)
        if compensation is not None and isinstance(ended, Unknown):
            self._unknown.append(compensation)
        return self._settled(entry, ended)

    async def parallel(self, *calls: Coroutine[Any, Any, Any]) -> list[Any]:
        """Run `calls` (the saga's own, or coroutines of them) side by side and return their results in order.

        The undos of the group run together. If one call fails, the others get `Policies.settle` to end; what is still
        under way then is abandoned as unknown.
        """
        branches = [Branch() for _ in calls]
        _BRANCH.get().append(branches)
        group = self._group(branches, calls)
        return await (run_to_completion(group) if self._phase is _Phase.COMMITTED else group)

    async def pivot(
        self,
        operation: Operation[Request, Reply],
        request: Request,
        *,
        within: timedelta | None = None,
        name: str | None = None,
    ) -> Reply:
        """The step that decides. It is asked until the answer is known; a refusal rolls the saga back.

        `within` bounds a round of it.
        """
        self._require(_Phase.PREPARING)
        self._phase = _Phase.COMMITTED
        self._stop_timer()
        ahead = self._earlier.may_be_ahead
        entry = self._journal.begin(operation.name, CallKind.PIVOT, name)
        policy = _bounded(self._policies.finish, within).recorded_first()
        may_refuse = _proves_that_it_was_not_done if ahead else _is_an_answer
        ended = await run_to_completion(
            self._calls.until_done(entry, operation, request, policy, may_refuse=may_refuse)
        )
        assert ended is not None  # noqa: S101 — the desk skips no pivot
        if isinstance(ended, Refused):
            self._earlier.was_not_decided()
            self._phase = _Phase.PREPARING
            self._start_timer()  # a workflow that catches the refusal still has its deadline
        return self._settled(entry, ended)

    async def try_cancel_decision(
        self, operation: Operation[Request, Any], request: Request, *, committed: str
    ) -> bool:
        """Take over from an execution that was cut off nobody knows where: revoke its decision, if it can be.

        Asked, as the pivot is, until the answer is known. True: revoked, and the saga is to be rolled back. False: it
        was refused with the code `committed`, so the pivot was reached, and from here on there is only forward.
        """
        self._phase = _Phase.COMMITTED
        self._stop_timer()
        entry = self._journal.begin(operation.name, CallKind.PIVOT)
        policy = self._policies.finish.recorded_first()
        ended = await run_to_completion(
            self._calls.until_done(entry, operation, request, policy, may_refuse=lambda code: code == committed)
        )
        if isinstance(ended, Refused):
            self._journal.settle(entry, Status.REFUSED, ended.attempts, ended.code)
            self._interruption = None  # a cancel that came before the answer came after the pivot
            self._unknown.clear()  # and what this execution got no answer to was done before it
            return False
        assert ended is not None  # noqa: S101 — the desk skips no decision
        self._settled(entry, ended)
        self._phase = _Phase.PREPARING
        return True

    async def finish(
        self,
        operation: Operation[Request, Reply],
        request: Request,
        *,
        within: timedelta | None = None,
        name: str | None = None,
    ) -> Reply | None:
        """Work that the pivot has promised: repeated until it is done. `None` if an operator skipped it.

        `within` bounds a round of it.
        """
        self._require(_Phase.COMMITTED)
        entry = self._journal.begin(operation.name, CallKind.FINISH, name)
        policy = _bounded(self._policies.finish, within)
        ended = await run_to_completion(self._calls.until_done(entry, operation, request, policy))
        return ended.reply if isinstance(ended, Done) else None

    async def best_effort(self, operation: Operation[Request, Reply], request: Request) -> Reply | None:
        """A few attempts at something that does not change how the saga ends. `None` if it did not get through."""
        entry = self._journal.begin(operation.name, CallKind.BEST_EFFORT)
        ended = await run_to_completion(attempt(operation, request, self._policies.best_effort))
        try:
            return self._settled(entry, ended)
        except StepFailed:
            return None  # the journal has its status and code

    def register_undo(
        self,
        undo: Operation[Request, Any],
        request: Request,
        *,
        within: timedelta | None = None,
        name: str | None = None,
    ) -> None:
        """Should the saga be rolled back, run `undo` for a step that an earlier execution may have done."""
        _BRANCH.get().append(self._compensation(undo, request, within, name))

    def foresee(self, body: Body) -> None:
        """Say what this saga will do: `body` makes the calls that the workflow makes on it, up to the pivot at least.

        It is followed by a `Plan`, where another execution of the same saga may have been further than this one: a step
        answers that it was undone, the run was reset, or `resume` says so. Then a rollback undoes every step of it.
        Where it has a pivot, each step before that is repeated until it is done or refused, whatever the deadline or a
        cancel asks for: an unknown outcome does not tell whether the earlier execution has passed the pivot, and a
        refusal does. A workflow that can ask whether it was passed (`try_cancel_decision`) leaves the pivot out.
        """
        self._earlier.foresee(body)

    def resume(self) -> None:
        """Say that an earlier execution of this saga may have done any part of what it foresees."""
        self._earlier.tell()

    def on_rollback(self, operation: Operation[Request, Any], request: Request) -> None:
        """Should the saga be rolled back, make this `best_effort` call at the end of it: to tell someone, say."""
        self._rollback_call = Undo(operation, request, self._policies.best_effort)

    def cancel(self, reason: str) -> None:
        """Ask for a rollback. No more than a confirmation while it is under way; `CancelRefused` from the pivot on.

        It may come before the saga is entered: Temporal runs an update that arrives with the start first.
        """
        self.check_cancellable()
        if self._phase is _Phase.PREPARING:
            self._interrupt(Failure(outcome.CANCELLED, reason))

    def check_cancellable(self) -> None:
        """Raise `CancelRefused` if the saga can only go forward."""
        if self._phase is _Phase.COMMITTED:
            raise CancelRefused("the pivot has been reached: the saga can only go forward")
        if self._may_be_decided:
            raise CancelRefused("an earlier execution may have reached the pivot: ask again when that is known")

    # --- entering and leaving -----------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        self._body = asyncio.current_task()
        self._outer_branch = _BRANCH.set(self._undos)
        if self._deadline is not None:
            self._due = asyncio.get_running_loop().time() + self._deadline.total_seconds()
            self._start_timer()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, GeneratorExit):
            return  # a worker that went down: Python drops the coroutine, maybe in the midst of another workflow
        self._stop_timer()
        _BRANCH.reset(self._outer_branch)
        decided = self._phase is _Phase.COMMITTED or (self._may_be_decided and not isinstance(error, StepFailed))
        if error is not None and decided:
            raise RuntimeError(
                "past the pivot, await only calls of the saga: what else fails there has no undo"
            ) from error
        failure = self._cause_of(error)
        if failure is None:
            if error is None:
                self._phase = _Phase.COMMITTED  # without a pivot, this is where it can no longer be cancelled
                # A workflow may have caught a step's failure and gone another way: what is in doubt is undone.
                await run_to_completion(self._unwind_to_the_end(self._unknown))
                self._journal.end(State.CONFIRMED)
            elif isinstance(error, asyncio.CancelledError):  # Temporal would end the workflow, and nothing be undone
                raise RuntimeError("cancelled, but nobody has asked the saga to stop") from error
            return  # a bug, or an eviction: not for the saga to handle
        self._phase = _Phase.UNWINDING
        self._journal.move(State.COMPENSATING, failure)
        await run_to_completion(self._roll_back())
        self._journal.end(State.ROLLED_BACK)
        raise ApplicationError(failure.message, self.log, type=failure.code, non_retryable=True) from error

    def _cause_of(self, error: BaseException | None) -> Failure | None:
        """Why the saga must unwind, or `None` if it must not."""
        interruption = self._interruption
        if interruption is None and workflow.cancellation_reason() is not None and self._phase is _Phase.PREPARING:
            interruption = Failure(outcome.CANCELLED, workflow.cancellation_reason() or "the workflow was cancelled")
        if isinstance(error, StepFailed):
            if interruption is not None and interruption.code != outcome.STEP_UNDONE:
                return interruption
            return error.failure
        if isinstance(error, asyncio.CancelledError):
            return interruption
        if error is not None and workflow.is_failure_exception(error):
            code = error.type if isinstance(error, ApplicationError) and error.type else type(error).__name__
            return interruption or Failure(code, str(error))
        return interruption if error is None else None

    # --- one call -----------------------------------------------------------------------------------------------------

    async def _answer(
        self, entry: Entry, operation: Operation[Request, Reply], request: Request, policy: Policy, round_of_it: Policy
    ) -> Outcome[Reply]:
        """The outcome of a step. It is not left unknown where an earlier execution may have passed the pivot."""
        ended: Outcome[Reply] | None = None
        if not self._may_be_decided:
            try:
                ended = await attempt(operation, request, policy)
            except asyncio.CancelledError:  # it came together with the reply, or before the call was sent
                ended = Unknown(outcome.CANCELLED, "the call was cancelled while it ran", 1)
        if self._may_be_decided and (ended is None or isinstance(ended, Unknown)):
            may_refuse = _proves_that_it_was_not_done
            call = self._calls.until_done(
                entry, operation, request, round_of_it.recorded_first(), may_refuse=may_refuse
            )
            ended = await run_to_completion(call)
            assert ended is not None  # noqa: S101 — the desk skips no step that may decide
        assert ended is not None  # noqa: S101 — one of the two has asked
        if isinstance(ended, Refused) and _proves_that_it_was_not_done(ended.code):
            self._earlier.was_not_decided()
        return ended

    def _unwinds_elsewhere(self, cause: Failure) -> None:
        """A step was undone before: another execution of this saga unwinds it, or has. So this one must too."""
        if not self._earlier.are_foreseen:
            raise RuntimeError(
                f"{cause.step} was undone by another execution of this saga, which may have done more: "
                "say with Saga.foresee what is to be undone"
            )
        self._earlier.tell()
        self._interruption = self._interruption or cause

    def _compensation(
        self, undo: Operation[Request, Any], request: Request, within: timedelta | None, name: str | None
    ) -> Undo[Request]:
        self._earlier.knows(undo.name, name)
        return Undo(undo, request, _bounded(self._policies.undo, within), name)

    def _settled(self, entry: Entry, ended: Outcome[Reply]) -> Reply:
        """The reply of a call that was done. Raises `StepFailed` for any other."""
        if not isinstance(ended, Done) and ended.code == outcome.CANCELLED and self._interruption is not None:
            ended = replace(ended, code=self._interruption.code, message=self._interruption.message)
        failure = self._journal.record(entry, ended)
        if isinstance(ended, Done):
            return ended.reply
        assert failure is not None  # noqa: S101 — what is not done has failed
        raise StepFailed(failure)

    async def _group(self, branches: list[Branch], calls: tuple[Coroutine[Any, Any, Any], ...]) -> list[Any]:
        async def in_branch(branch: Branch, call: Coroutine[Any, Any, T]) -> T:
            _BRANCH.set(branch)  # of this task only: a task runs in a copy of the context
            return await call

        tasks = [asyncio.create_task(in_branch(branch, call)) for branch, call in zip(branches, calls, strict=True)]
        try:
            return await asyncio.gather(*tasks)
        except (Exception, asyncio.CancelledError):
            await run_to_completion(self._end_of(tasks))
            bug = next(filter(None, map(_bug_in, tasks)), None)
            if bug is not None:
                raise bug  # noqa: B904 — the failure beside it is not its cause
            raise

    async def _end_of(self, tasks: list[asyncio.Task[Any]]) -> None:
        """Give `tasks` the time to end, and then make them: nothing of a group may go on beside its unwinding."""
        _, late = await workflow.wait(tasks, timeout=self._policies.settle.total_seconds())
        for task in late:
            task.cancel()
        if late:
            await workflow.wait(late)

    # --- the way back -------------------------------------------------------------------------------------------------

    def _assume_unseen(self) -> None:
        """Undo what another execution may have done beyond this one: an earlier one of the saga, or, where calls are
        made before the history has them, one by a worker that is thought dead. That one cannot have begun before the
        opening step is in the history; what is there under the saga's id then may be another's."""
        is_colocated = self._policies.forward.local is not None
        if not self._earlier.may_be_ahead and not (is_colocated and self._opened):
            return
        for undo, call in self._earlier.unseen():
            self._undos.append(self._compensation(undo, call.request, call.within, call.name))
        rollback_call = self._earlier.plan.rollback_call
        if self._rollback_call is None and rollback_call is not None:
            self.on_rollback(rollback_call.operation, rollback_call.request)

    async def _roll_back(self) -> None:
        self._assume_unseen()
        await self._unwind_to_the_end(self._undos)
        if self._rollback_call is not None:
            await self.best_effort(self._rollback_call.operation, self._rollback_call.request)

    async def _unwind_to_the_end(self, branch: Branch) -> None:
        await self._unwind(branch)
        await asyncio.gather(*self._parked)

    async def _unwind(self, branch: Branch) -> None:
        while branch:
            top = branch.pop()
            if isinstance(top, Undo):
                await self._undo(top)
            else:
                await asyncio.gather(*map(self._unwind, top))

    async def _undo(self, undo: Undo[Any]) -> None:
        """Return when the undo is done, or parked and going on by itself."""
        entry = self._journal.begin(undo.operation.name, CallKind.UNDO, undo.name)
        task = asyncio.create_task(self._calls.until_done(entry, undo.operation, undo.request, undo.policy))
        self._parked.append(task)
        await until(lambda: entry.status is not Status.RUNNING or task.done())

    # --- interruptions ------------------------------------------------------------------------------------------------

    def _interrupt(self, cause: Failure) -> None:
        """Stop the body where it waits. The first cause is the one that is told."""
        if self._interruption is None and self._phase is _Phase.PREPARING and not self._may_be_decided:
            self._interruption = cause
            if self._body is not None:  # or else the first call is not made
                self._body.cancel()

    def _require(self, phase: _Phase) -> None:
        if self._phase is not phase:
            raise RuntimeError(f"this call belongs to {phase.name}, the saga is {self._phase.name}")
        if phase is not _Phase.PREPARING or self._may_be_decided:
            return
        if self._interruption is None and self._is_late:
            self._interruption = self._late  # within a workflow task, in which no timer fires
        if self._interruption or workflow.cancellation_reason() is not None:
            raise asyncio.CancelledError  # the interruption came together with a reply, and so interrupted nothing

    @property
    def _may_be_decided(self) -> bool:
        """Whether an earlier execution may have passed the pivot that is still before this one."""
        return self._phase is _Phase.PREPARING and self._earlier.may_have_decided

    @property
    def _is_late(self) -> bool:
        return self._timer is not None and asyncio.get_running_loop().time() >= self._timer.when()

    @property
    def _late(self) -> Failure:
        assert self._deadline is not None  # noqa: S101 — there is one to miss
        return deadline_exceeded(self._deadline.total_seconds())

    def _start_timer(self) -> None:
        if self._due is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(max(self._due - loop.time(), 0), self._interrupt, self._late)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _is_an_answer(_: str) -> bool:
    return True


def _proves_that_it_was_not_done(code: str) -> bool:
    """Whether a refusal with `code` does. A fence that has the step with another request says not how that ended."""
    return code != outcome.IDEMPOTENCY_CONFLICT


def _bounded(policy: Policy, timeout: timedelta | None) -> Policy:
    return policy if timeout is None else policy.bounded_by(timeout)


def _bug_in(task: asyncio.Task[Any]) -> BaseException | None:
    """What `task` failed with, if that is none of the failures a saga is rolled back for."""
    error = None if task.cancelled() else task.exception()
    expected = isinstance(error, StepFailed) or (error is not None and workflow.is_failure_exception(error))
    return None if expected else error
