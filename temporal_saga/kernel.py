"""The saga: steps forward, a stack of undos, a pivot, and a rollback that nothing stops.

The rules, and where they are kept:

- an undo is data and is pushed *before* its step is dispatched (`step`), so a step with an unknown outcome is undone;
- undos run in reverse, those of a parallel group together, and one that does not get through is parked: visible, tried
  again in rounds, and without holding up the others (`temporal_saga.undo`, `temporal_saga.calls`);
- before the pivot a deadline or a cancel stops the body (`temporal_saga.progress`), after it nothing does
  (`run_to_completion`);
- where an earlier execution of the saga may have passed the pivot, no step is given up before that is known
  (`_answer`), and where one may have done more than this one, a rollback undoes that too (`temporal_saga.undo`);
- a bug (any exception that is not a Temporal failure) fails the workflow task, which Temporal retries until the bug is
  fixed: it never starts a rollback.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Token
from dataclasses import replace
from datetime import datetime, timedelta
from enum import Enum, auto
from functools import partial
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

from temporalio import workflow
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from temporal_saga import outcome
from temporal_saga.announcer import Announcer
from temporal_saga.calls import PersistentCalls, attempt, summary_of
from temporal_saga.desk import Desk, Remedy
from temporal_saga.earlier import Body, EarlierExecutions
from temporal_saga.group import run_group
from temporal_saga.journal import (
    CallKind,
    Entry,
    Failure,
    Journal,
    MovedDeadline,
    MoveDeadline,
    State,
    Status,
    TransactionLog,
)
from temporal_saga.operation import Call, Operation, Reply, Request, UndoCall
from temporal_saga.outcome import Done, Outcome, Refused, Unknown
from temporal_saga.plan import PlannedCall
from temporal_saga.policy import POLICIES, Policies, Policy
from temporal_saga.progress import WAIT_TIMEOUT, Phase, Progress, StepFailed
from temporal_saga.undo import Rollback, Savepoint, UndoStack, current_stack, on_stack, stack_here
from temporal_saga.waiting import run_to_completion

Found = TypeVar("Found")
Otherwise = TypeVar("Otherwise")


class _Otherwise(Enum):
    ROLL_BACK = auto()


class Saga:
    """One saga, used as `async with Saga(...) as saga:` in a workflow's `run`.

    Left without an error it ends CONFIRMED. Left by a failure it undoes its steps and raises an `ApplicationError`
    whose type is the error code and whose one detail is the `TransactionLog`. Either end has `WITH_SKIPS` where an
    operator has left a call undone.

    `transaction_id` is by default the id of the workflow. `deadline` bounds the phase before the pivot; `move_deadline`
    changes it. `body` is what the saga is going to do (`foresee`); without it, colocated policies raise a `TypeError`:
    a worker that is thought dead may have made calls that are not in the history, and only the body says what undoes
    them. `remedy` names the command that the Web UI shows beside a parked call; by default it is the Temporal CLI's for
    the update `desk_retry`. `announce` is an operation that takes `Announcements`: it is called, at least once and in
    order, when the saga is parked, goes on or has ended, and the workflow ends only after that.
    """

    def __init__(
        self,
        transaction_id: str | None = None,
        *,
        deadline: timedelta | None = None,
        policies: Policies = POLICIES,
        body: Body | None = None,
        remedy: Remedy | None = None,
        announce: Call[Any, Any] | None = None,
    ) -> None:
        if policies.are_colocated and body is None:
            raise TypeError("a colocated saga needs its body, to undo calls that its history has not seen")
        self.desk = Desk(remedy)
        self._announcer = None if announce is None else Announcer(Operation.of(announce), policies)
        own_id = workflow.info().workflow_id if transaction_id is None else transaction_id
        self._journal = Journal(own_id, listener=self._announcer)
        self._calls = PersistentCalls(self._journal, self.desk, policies.rounds)
        self._policies = policies
        self._earlier = EarlierExecutions(body)
        self._progress = Progress(deadline, self._earlier)
        self._rollback = Rollback(self._journal, self._calls, policies, self._earlier)
        self._outer_stack: Token[UndoStack]
        self.patches: dict[str, bool] = {}
        """What Temporal has answered to `patched`."""

    @property
    def log(self) -> TransactionLog:
        """The transaction log as it stands now."""
        return self._journal.log

    @property
    def is_past_pivot(self) -> bool:
        """Whether the pivot is done: the saga will be confirmed, and only its finishes are left."""
        return self._progress.is_past_pivot

    @property
    def is_rerun(self) -> bool:
        """Whether this run repeats an earlier one: it was reset, or the server began it again, or a step of it had been
        done before. Temporal forgets a closed workflow, and its id can then be used again."""
        return self._earlier.is_rerun

    def patched(self, patch_id: str) -> bool:
        """`workflow.patched`, for a guard in a body that a `Plan` follows too: a query may not ask Temporal."""
        self.patches[patch_id] = workflow.patched(patch_id)
        return self.patches[patch_id]

    # --- the calls of a workflow --------------------------------------------------------------------------------------

    async def step(
        self,
        operation: Call[Request, Reply],
        request: Request,
        *,
        undo: UndoCall[Request] | None = None,
        attempt_timeout: timedelta | None = None,
        within: timedelta | None = None,
        name: str | None = None,
    ) -> Reply:
        """Run `operation`. If the saga fails from here on, run `undo` with the same request.

        `attempt_timeout` replaces the policy's. `within` bounds the whole step, retries included, and each round of
        its undo. `name` is the step's in the log. Raises `StepFailed`.
        """
        operation = Operation.of(operation)
        self._progress.require(Phase.PREPARING)
        stack = stack_here()
        undoing = None if undo is None else Operation.undo_of(undo)
        pushed = None if undoing is None else self._rollback.push(stack, undoing, request, within, name)
        policy = self._policy_of_step(attempt_timeout, within)
        entry = self._journal.begin(operation.name, CallKind.STEP, name)
        ended = await self._answer(entry, operation, request, policy, self._policies.finish.bounded_by(within))
        if not isinstance(ended, Refused):
            self._rollback.has_opened = True
        # A local call may have been made by this execution's own worker, which died before the history had it.
        if isinstance(ended, Done) and ended.is_repeated and policy.local is None:
            self._earlier.was_done_before()
        undone_here = pushed is not None and self._rollback.has_undone(pushed)
        if isinstance(ended, Refused) and ended.code == outcome.STEP_UNDONE and not undone_here:
            self._earlier.was_rolled_back(entry.step)
            self._progress.cause = self._progress.cause or Failure(ended.code, ended.message, entry.step)
        if pushed is not None:
            self._rollback.settle(stack, pushed, ended)
        return self._reply_or_raise(entry, ended)

    async def parallel(self, *calls: Coroutine[Any, Any, Any]) -> list[Any]:
        """Run `calls` (the saga's own, or coroutines of them) side by side and return their results in order.

        The undos of the group run together. If one call fails, the others get `Policies.settle` to end; what is still
        under way then is abandoned as unknown.
        """
        stacks = stack_here().branch(len(calls))
        group = run_group([on_stack(*pair) for pair in zip(stacks, calls, strict=True)], self._policies.settle)
        return await (run_to_completion(group) if self._progress.phase is Phase.COMMITTED else group)

    async def wait_for(
        self,
        holds: Callable[[], Found],
        *,
        name: str,
        timeout: timedelta,  # noqa: ASYNC109 — its end is an outcome of the wait
        otherwise: Otherwise | Literal[_Otherwise.ROLL_BACK] = _Otherwise.ROLL_BACK,
    ) -> Found | Otherwise:
        """Wait before the pivot until `holds` returns something true, and return that.

        `holds` reads state of the workflow that a signal or an update sets: an approval, a payment that arrives. After
        `timeout`, `otherwise` is returned; without it the saga is rolled back with the code WAIT_TIMEOUT. `name` is the
        wait's in the log. Raises `StepFailed`.

        Where an earlier execution may have passed the pivot, the wait has no timeout: what did not come to this
        execution may have come to that one.
        """
        self._progress.require(Phase.PREPARING)
        entry = self._journal.begin(name, CallKind.WAIT)
        found: list[Found] = []

        def finds() -> bool:
            found[:] = [holds()]
            return bool(found[0])

        failed = await self._progress.wait_for(finds, timeout, entry.step)
        if failed is None:
            self._journal.settle(entry, Status.DONE, 0)
            return found[0]
        if failed.code == WAIT_TIMEOUT and otherwise is not _Otherwise.ROLL_BACK:
            self._journal.settle(entry, Status.UNKNOWN, 0, WAIT_TIMEOUT)
            return otherwise
        return self._reply_or_raise(entry, failed)

    def savepoint(self, name: str) -> Savepoint:
        """Return this place in the saga, to which `undo_to` can go back. Not for colocated sagas: raises `TypeError`.

        A worker that is thought dead may have made calls beyond it that are not in the history.
        """
        if self._policies.are_colocated:
            raise TypeError("a colocated saga has no savepoints: its history does not know all steps since one")
        self._progress.require(Phase.PREPARING)
        point = Savepoint(name)
        stack_here().append(point)
        return point

    async def undo_to(self, point: Savepoint) -> None:
        """Undo in reverse what was begun since `point`, parallel groups together. Then the workflow takes another way.

        The undos are in the log. One that is parked does not hold up the workflow, but the saga does not end before it
        is done or skipped. The same call of a step that was undone is refused from then on: the other way needs other
        steps, or another request with its own idempotency key. Raises `RuntimeError` after the pivot, and for a `point`
        of another branch of a parallel group or one that was undone itself.
        """
        self._progress.require(Phase.PREPARING)
        if point not in stack_here():
            raise RuntimeError(f"the savepoint {point.name} is not in this branch of the saga, or was undone itself")
        if self._progress.may_be_decided:
            raise RuntimeError(
                "an earlier execution may have reached the pivot: nothing can be undone before it is known"
            )
        await run_to_completion(self._rollback.run_to(point))
        self._progress.require(Phase.PREPARING)
        task = asyncio.current_task()
        if task is not None and task.cancelling():  # a branch whose group has failed meanwhile
            raise asyncio.CancelledError

    async def pivot(
        self,
        operation: Call[Request, Reply],
        request: Request,
        *,
        within: timedelta | None = None,
        name: str | None = None,
    ) -> Reply:
        """Make the call that decides, in rounds bounded by `within` until it is answered. A refusal rolls back."""
        self._progress.require(Phase.PREPARING)
        if stack_here() is not self._rollback.stack:
            raise RuntimeError("the pivot decides about the whole saga: call it in its block, and in no parallel group")
        entry, ended = await self._decide(
            Operation.of(operation), request, self._earlier.proves_not_decided, within, name
        )
        if isinstance(ended, Refused):
            self._earlier.was_not_decided()
            self._progress.reopen()
        self._progress.is_past_pivot = isinstance(ended, Done)
        return self._reply_or_raise(entry, ended)

    async def try_cancel_decision(
        self, operation: Operation[Request, Any], request: Request, *, committed: str, foreign: str | None = None
    ) -> bool:
        """Call `operation`, which cancels the decision of an earlier execution, until its answer is known.

        True: it is cancelled, and the saga is to be rolled back. False: the service has refused with the code
        `committed`, so the earlier execution passed the pivot, and this saga can only go forward.

        True too if it has refused with the code `foreign`: what is done under the saga's id belongs to another saga,
        and the rollback leaves it alone.
        """
        entry, ended = await self._decide(operation, request, lambda code: code in (committed, foreign))
        self._journal.record(entry, ended)
        if isinstance(ended, Refused) and ended.code == foreign:
            self._progress.cause = Failure(ended.code, ended.message, operation.step)
            self._rollback.disown()
        if isinstance(ended, Done) or ended.code == foreign:
            self._progress.phase = Phase.PREPARING
            return True
        self._progress.cause = None  # a cancel that came before the answer came after the pivot
        self._rollback.was_decided()
        self._progress.is_past_pivot = True
        return False

    async def finish(
        self,
        operation: Call[Request, Reply],
        request: Request,
        *,
        within: timedelta | None = None,
        name: str | None = None,
    ) -> Reply | None:
        """Do what the pivot has promised, in rounds bounded by `within` until it is done. `None` if it was skipped."""
        operation = Operation.of(operation)
        self._progress.require(Phase.COMMITTED)
        entry = self._journal.begin(operation.name, CallKind.FINISH, name)
        policy = self._policies.finish.bounded_by(within)
        ended = await run_to_completion(self._calls.until_done(entry, operation, request, policy))
        return ended.reply if isinstance(ended, Done) else None

    async def best_effort(self, operation: Call[Request, Reply], request: Request) -> Reply | None:
        """Try a few times what does not change how the saga ends. `None` if it did not get through."""
        operation = Operation.of(operation)
        entry = self._journal.begin(operation.name, CallKind.BEST_EFFORT)
        summary, waits = summary_of(operation, CallKind.BEST_EFFORT), partial(self._journal.wait, entry)
        call = attempt(operation, request, self._policies.best_effort, summary, waits=waits)
        ended = await run_to_completion(call)
        self._journal.record(entry, ended)
        return ended.reply if isinstance(ended, Done) else None

    def on_rollback(
        self, operation: Call[Request, Any], request: Request, *, explained: Callable[[Failure], Request] | None = None
    ) -> None:
        """Make this `best_effort` call at the end of a rollback: to tell the customer, for example.

        `explained` makes its request from the failure that is rolled back, in place of `request`.
        """
        self._rollback.last_call = PlannedCall(
            CallKind.BEST_EFFORT, Operation.of(operation), request, explained=explained
        )

    # --- other executions, and cancels --------------------------------------------------------------------------------

    def foresee(self, body: Body, *, resumed: bool = False) -> None:
        """Say what this saga is going to do: `body` makes the same calls, up to the pivot at least. It may be
        called for one part after another: together they are the body. A saga that was made with a body ignores them.

        A `Plan` follows the body where another execution of the same saga may have got further than this one: a step
        answers that it was undone, the run was reset, or it is `resumed`. Then a rollback undoes every step of the
        body. If the body has a pivot, each step before it is repeated until it is done or refused, and a deadline or a
        cancel has no effect: an unknown outcome does not tell whether the earlier execution has passed the pivot, a
        refusal does. A workflow that can find that out (`try_cancel_decision`) leaves the pivot out of its body.
        """
        self._earlier.foresee(body)
        if resumed:
            self._earlier.assume_another()

    def assume_prepared(self, *, but: Operation[Any, Any] | None = None) -> None:
        """Register the undos of all foreseen steps that this execution has not begun, except `but`, which is done."""
        self._rollback.assume_prepared(but)

    def cancel(self, reason: str) -> None:
        """Roll the saga back, or raise `CancelRefused`. May come before the saga is entered: updates can run first."""
        self._progress.cancel(reason)

    def check_cancellable(self) -> None:
        """Raise `CancelRefused` if the saga can only go forward."""
        self._progress.check_cancellable()

    def move_deadline(self, moved: MoveDeadline) -> None:
        """Give the saga another deadline, or a first one, or raise `DeadlineRefused`. The log keeps who and why."""
        self._progress.move_deadline(moved.until)
        self._journal.move_deadline(MovedDeadline(moved.actor, moved.reason, moved.until, workflow.now()))

    def check_deadline(self, until: datetime) -> None:
        """Raise `DeadlineRefused` if the deadline cannot be moved to `until`."""
        self._progress.check_deadline(until)

    # --- entering and leaving -----------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        if current_stack.get(None) is not None:
            raise RuntimeError("a saga is entered within another: the undos of both would be on one stack")
        self._outer_stack = current_stack.set(self._rollback.stack)
        self._progress.begin()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, GeneratorExit):
            return  # the worker went down: Python closes the coroutine, perhaps while another workflow runs
        self._progress.stop_timer()
        current_stack.reset(self._outer_stack)
        failure = self._progress.cause_of(error)
        if failure is not None:
            await self._roll_back(failure)
            raise self._end_of(failure) from None  # the log is the detail: a stack trace would hide it
        if error is None:
            self._journal.require_answers()
            await self._confirm()

    async def _confirm(self) -> None:
        self._progress.phase = Phase.COMMITTED  # a saga without a pivot can be cancelled until here
        await run_to_completion(self._rollback.run_unknown())
        await self._end(State.CONFIRMED)

    async def _roll_back(self, failure: Failure) -> None:
        self._progress.phase = Phase.ROLLING_BACK
        self._journal.move(State.COMPENSATING, failure)
        await run_to_completion(self._undo_all(failure))
        await self._end(State.ROLLED_BACK)

    async def _end(self, end: State) -> None:
        self._journal.end(end)
        if self._announcer is not None:
            await run_to_completion(self._announcer.done())

    def _end_of(self, failure: Failure) -> ApplicationError:
        """The failure of a workflow whose saga was rolled back: a business end, which no metric of failures counts."""
        benign = ApplicationErrorCategory.BENIGN
        return ApplicationError(failure.message, self.log, type=failure.code, non_retryable=True, category=benign)

    async def _undo_all(self, failure: Failure) -> None:
        await self._rollback.run()
        if (last := self._rollback.last_call) is not None:
            await self.best_effort(last.operation, last.request_after(failure))

    # --- one call -----------------------------------------------------------------------------------------------------

    def _policy_of_step(self, attempt_timeout: timedelta | None, within: timedelta | None) -> Policy:
        policy = self._policies.of_step(attempt_timeout, within)
        if within is None and self._progress.has_deadline:  # it bounds the work that a service has in hand, too
            policy = replace(policy, longest_work=None)
        if not self._rollback.has_opened:  # a worker that is thought dead can be ahead of the history only from then on
            policy = policy.recorded_first()
        return policy

    async def _answer(
        self, entry: Entry, operation: Operation[Request, Reply], request: Request, policy: Policy, in_rounds: Policy
    ) -> Outcome[Reply]:
        """The outcome of a step. It is not left unknown where an earlier execution may have passed the pivot."""
        ended: Outcome[Reply] | None = None
        if not self._progress.may_be_decided:
            try:
                summary, waits = summary_of(operation, entry.kind, entry.name), partial(self._journal.wait, entry)
                ended = await attempt(operation, request, policy, summary, waits=waits)
            except asyncio.CancelledError:  # it came together with the reply, or before the call was sent
                ended = Unknown(outcome.CANCELLED, "the call was cancelled while it ran", 1)
        if self._progress.may_be_decided and (ended is None or isinstance(ended, Unknown)):  # it can be by now: a reset
            ended = await self._calls.until_answered(entry, operation, request, in_rounds, outcome.proves_not_done)
        assert ended is not None  # noqa: S101 — it was called in one of the two ways
        if isinstance(ended, Refused) and outcome.proves_not_done(ended.code):
            self._earlier.was_not_decided()
        return ended

    async def _decide(
        self,
        operation: Operation[Request, Reply],
        request: Request,
        may_refuse: Callable[[str], bool],
        within: timedelta | None = None,
        name: str | None = None,
    ) -> tuple[Entry, Done[Reply] | Refused]:
        """Make a call that decides. From here on nothing interrupts the saga, unless the call is refused."""
        self._progress.commit()
        entry = self._journal.begin(operation.name, CallKind.PIVOT, name)
        policy = self._policies.finish.bounded_by(within)
        return entry, await self._calls.until_answered(entry, operation, request, policy, may_refuse)

    def _reply_or_raise(self, entry: Entry, ended: Outcome[Reply]) -> Reply:
        """The reply of a call that was done. Raises `StepFailed` for any other."""
        cause = self._progress.cause
        if not isinstance(ended, Done) and ended.code == outcome.CANCELLED and cause is not None:
            ended = replace(ended, code=cause.code, message=cause.message)
        failure = self._journal.record(entry, ended)
        if isinstance(ended, Done):
            return ended.reply
        assert failure is not None  # noqa: S101 — a call that is not done has failed
        raise StepFailed(failure)
