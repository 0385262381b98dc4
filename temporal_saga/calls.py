"""One call of one operation: an activity with its retries, or rounds of them until it is done.

Only this module starts an activity for a saga.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Generic

from temporalio import workflow
from temporalio.common import RawValue, RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, FailureError

from temporal_saga import outcome
from temporal_saga.desk import Decision, Desk, Fix, Parked, Skip, transaction_of
from temporal_saga.journal import CallKind, Entry, Failure, Journal, Skipped, Status
from temporal_saga.operation import Operation, Reply, Request
from temporal_saga.outcome import Done, Outcome, Refused, Unknown, Working
from temporal_saga.policy import Policy, Rounds
from temporal_saga.reply import read
from temporal_saga.waiting import run_to_completion, until

SHORTEST_PAUSE = timedelta(seconds=1)
"""Limit on how often a service is asked that answers STILL_WORKING."""
_PART_OF_THE_WAIT = 100
"""A pause is no shorter than this part of the time since the first question. A service that wants to be asked each
second is asked 800 times in a day, which is 9,000 of the 51,200 events that a history may have."""


def summary_of(operation: Operation[Any, Any], kind: CallKind, name: str | None = None, rounds: int = 1) -> str | None:
    """What the Web UI shows beside the name of the activity: what the call is in its saga, and which round it is.

    `None` for the first round of a step without a name of its own: the activity's name says it all.
    """
    undone = "undo" if operation.undoes is None else f"undo of {operation.undoes.name}"
    words = {CallKind.STEP: "", CallKind.BEST_EFFORT: "best effort", CallKind.UNDO: undone}
    parts = [words.get(kind, str(kind)), name, f"round {rounds}" if rounds > 1 else ""]
    return ", ".join(filter(None, parts)) or None


async def attempt(
    operation: Operation[Request, Reply],
    request: Request,
    policy: Policy,
    summary: str | None = None,
    *,
    waits: Callable[[datetime | None], None] = lambda _: None,
) -> Outcome[Reply]:
    """Make one call with its retries, and return its outcome. A service that answers STILL_WORKING is asked again.

    The Web UI shows `summary` beside it. `waits` gets the time of the next question, and `None` when that is asked.
    """
    call = CallInProgress(operation, request, policy)
    while isinstance(ended := await call.answer(summary), Working):
        waits(workflow.now() + call.pause)
        await workflow.sleep(call.pause, summary=call.working)
        waits(None)
    return ended


@dataclass
class CallInProgress(Generic[Request, Reply]):
    """One call, until its outcome is known. A service may answer a question with STILL_WORKING: that spends no attempt.

    An undo that `takes_reply` gets `reply`, what its step has replied, as its second argument.
    """

    operation: Operation[Request, Reply]
    request: Request
    policy: Policy
    reply: Any = None
    pause: timedelta = SHORTEST_PAUSE
    """The time until the next question."""
    _began: datetime = field(default_factory=workflow.now)

    async def answer(self, summary: str | None) -> Outcome[Reply] | Working:
        """Ask once, with retries. The outcome is unknown if the service works for longer than the policy allows."""
        waited, longest = workflow.now() - self._began, self.policy.longest_work
        policy = self.policy
        if longest is not None and waited:
            policy = policy.within_the_rest(longest - waited, SHORTEST_PAUSE)
        ended = await _ask(self.operation, self._arguments, policy, summary)
        if not isinstance(ended, Working):
            return ended
        waited = workflow.now() - self._began
        self.pause = max(ended.pause or SHORTEST_PAUSE, SHORTEST_PAUSE, waited / _PART_OF_THE_WAIT)
        if longest is not None and waited + self.pause >= longest:
            told = f"the work goes on after {waited.total_seconds():.0f} s of {longest.total_seconds():.12g} s allowed"
            return Unknown(outcome.STEP_TIMEOUT, told, 0)
        return ended

    @property
    def working(self) -> str:
        """What the Web UI shows beside the timer of the pause."""
        return f"{self.operation.name} still working"

    @property
    def _arguments(self) -> list[Any]:
        return [self.request, self.reply] if self.operation.takes_reply else [self.request]


async def _ask(
    operation: Operation[Any, Reply], arguments: list[Any], policy: Policy, summary: str | None
) -> Outcome[Reply] | Working:
    if policy.local is not None:
        first = await _local(operation, arguments, policy.local, summary)
    elif policy.eager is not None:
        once = replace(policy, attempt_timeout=policy.eager, attempts=1, total=policy.eager)
        first = await _over_the_queue(operation, arguments, once, workflow.info().task_queue, summary)
    else:
        return await _over_the_queue(operation, arguments, policy, operation.queue, summary)
    if not isinstance(first, Unknown) or first.code == outcome.CANCELLED:
        return first
    ended = await _over_the_queue(operation, arguments, policy, operation.queue, summary)
    if isinstance(ended, Working):
        return ended
    if isinstance(ended, Done):
        return replace(ended, before=first.attempts)
    return replace(ended, attempts=first.attempts + ended.attempts)


async def _over_the_queue(
    operation: Operation[Any, Reply], arguments: list[Any], policy: Policy, task_queue: str, summary: str | None
) -> Outcome[Reply] | Working:
    try:
        raw = await workflow.execute_activity(
            operation.name,
            args=arguments,
            task_queue=task_queue or None,
            result_type=RawValue,
            start_to_close_timeout=policy.attempt_timeout,
            schedule_to_close_timeout=policy.total,
            retry_policy=policy.retry_policy,
            cancellation_type=workflow.ActivityCancellationType.TRY_CANCEL,
            priority=policy.priority,
            summary=summary,
        )
    except (ActivityError, ApplicationError) as error:
        return outcome.classify(error, policy.attempts)
    return read(operation, raw)


async def _local(
    operation: Operation[Any, Reply], arguments: list[Any], at_most: timedelta, summary: str | None
) -> Outcome[Reply] | Working:
    """Run a local activity. After a crash it runs again, because its result is not in the history yet: the service
    needs a fence."""
    try:
        raw = await workflow.execute_local_activity(
            operation.name,
            args=arguments,
            result_type=RawValue,
            schedule_to_close_timeout=at_most,
            retry_policy=RetryPolicy(maximum_attempts=1),
            cancellation_type=workflow.ActivityCancellationType.TRY_CANCEL,
            summary=summary,
        )
    except FailureError as error:
        return outcome.classify(error, 1)
    return read(operation, raw)


@dataclass(frozen=True)
class PersistentCalls:
    """Calls that must get through. One that does not is parked, and is on the desk for an operator."""

    journal: Journal
    desk: Desk
    rounds: Rounds

    async def until_done(
        self,
        entry: Entry,
        operation: Operation[Request, Reply],
        request: Request,
        policy: Policy,
        *,
        reply: Any = None,
        may_refuse: Callable[[str], bool] = lambda _: False,
    ) -> Done[Reply] | Refused | None:
        """Make rounds of attempts with durable pauses between them. The call is parked from its first failed round on.

        A service that answers STILL_WORKING has not failed; the next question belongs to the same round.

        Returns `None` if an operator skipped it. A refusal whose code `may_refuse` allows is an answer; any other needs
        an operator, and the call stays parked. So does one with a conflict after an operator has replaced the request:
        the first one may have been done. The pauses double with each automatic round. A round that an operator asks for
        changes nothing about them: the next automatic round comes when it was due.
        """
        rounds, made, due, code, is_fixed = 0, 1, workflow.now(), "", False
        decision: Decision | None = None
        call = CallInProgress(operation, request, policy, reply)
        while True:
            ended = await call.answer(summary_of(operation, entry.kind, entry.name, made))
            if isinstance(ended, Done):
                self.desk.settle(entry.step)
                if entry.kind.is_skippable:
                    self.journal.settle(entry, Status.DONE, ended.attempts)
                return ended
            if (
                isinstance(ended, Refused)
                and may_refuse(ended.code)
                and (not is_fixed or outcome.proves_not_done(ended.code))
            ):
                self.desk.settle(entry.step)
                return ended
            now = workflow.now()
            if isinstance(ended, Working):
                self.journal.wait(entry, now + call.pause)
                self.desk.postpone(entry.step, now + call.pause)
                decision = await self._decision(entry.step, call.pause, call.working)
                self.journal.wait(entry, None)
            else:
                rounds += decision is None
                code = ended.code
                due = due if due > now else now + self.rounds.pause(rounds)
                self.journal.settle(entry, Status.PARKED, ended.attempts, ended.code)
                error = Failure(ended.code, ended.message, entry.step)
                parked = Parked(entry.step, entry.kind, entry.parked_since or now, entry.attempts, due, error)
                self.desk.park(parked, operation, request)
                decision = await self._decision(entry.step, due - now, f"{entry.step} parked: {ended.code}")
                call = CallInProgress(operation, request, policy, reply)
                made += 1
            if isinstance(decision, Skip):
                self._skip(entry, decision, request, code)
                return None
            if isinstance(decision, Fix):
                entry.note, is_fixed = f"request replaced by {decision.actor}", True
                request, reply = decision.request, None  # the reply was one to the other request
                call = CallInProgress(operation, request, policy)
            self.desk.begin_round(entry.step, request)

    async def until_answered(
        self,
        entry: Entry,
        operation: Operation[Request, Reply],
        request: Request,
        policy: Policy,
        may_refuse: Callable[[str], bool],
    ) -> Done[Reply] | Refused:
        """Do as `until_done` for a call that may decide the saga: the history has it before it is made, a cancel of the
        waiting task does not end it, and an operator cannot skip it."""
        call = self.until_done(entry, operation, request, policy.recorded_first(), may_refuse=may_refuse)
        ended = await run_to_completion(call)
        assert ended is not None  # noqa: S101 — the desk skips no such call
        return ended

    async def _decision(self, step: str, pause: timedelta, summary: str) -> Decision | None:
        """Return an operator's decision about a parked call, made now or while it was tried; `None` after `pause`."""
        if not self.desk.decided(step):
            await until(lambda: self.desk.decided(step), pause, summary)
        return self.desk.take(step)

    def _skip(self, entry: Entry, decision: Skip, request: Any, code: str) -> None:
        self.desk.settle(entry.step)
        entry.note = f"skipped by {decision.actor}: {decision.reason}"
        entry.skipped = Skipped(decision.actor, decision.reason, workflow.now(), transaction_of(request))
        self.journal.settle(entry, Status.SKIPPED, 0, code)
