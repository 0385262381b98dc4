"""One call of one operation: an activity with its retries, or rounds of them until it is done.

Only this module starts an activity for a saga.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RawValue, RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, FailureError

from temporal_saga import outcome
from temporal_saga.desk import Decision, Desk, Fix, Parked, Skip, transaction_of
from temporal_saga.journal import CallKind, Entry, Failure, Journal, Skipped, Status
from temporal_saga.operation import Operation, Reply, Request
from temporal_saga.outcome import Done, Outcome, Refused, Unknown
from temporal_saga.policy import Policy, Rounds
from temporal_saga.reply import read
from temporal_saga.waiting import run_to_completion, until


def summary_of(operation: Operation[Any, Any], kind: CallKind, name: str | None = None, rounds: int = 1) -> str | None:
    """What the Web UI shows beside the name of the activity: what the call is in its saga, and which round it is.

    `None` for the first round of a step without a name of its own: the activity's name says it all.
    """
    undone = "undo" if operation.undoes is None else f"undo of {operation.undoes.name}"
    words = {CallKind.STEP: "", CallKind.BEST_EFFORT: "best effort", CallKind.UNDO: undone}
    parts = [words.get(kind, str(kind)), name, f"round {rounds}" if rounds > 1 else ""]
    return ", ".join(filter(None, parts)) or None


async def attempt(
    operation: Operation[Request, Reply], request: Request, policy: Policy, summary: str | None = None
) -> Outcome[Reply]:
    """Make one call with its retries, and return its outcome. The Web UI shows `summary` beside it."""
    if policy.local is not None:
        first = await _local(operation, request, policy.local, summary)
    elif policy.eager is not None:
        once = replace(policy, attempt_timeout=policy.eager, attempts=1, total=policy.eager)
        first = await _over_the_queue(operation, request, once, workflow.info().task_queue, summary)
    else:
        return await _over_the_queue(operation, request, policy, operation.queue, summary)
    if not isinstance(first, Unknown) or first.code == outcome.CANCELLED:
        return first
    ended = await _over_the_queue(operation, request, policy, operation.queue, summary)
    if isinstance(ended, Done):
        return replace(ended, before=first.attempts)
    return replace(ended, attempts=first.attempts + ended.attempts)


async def _over_the_queue(
    operation: Operation[Request, Reply], request: Request, policy: Policy, task_queue: str, summary: str | None
) -> Outcome[Reply]:
    try:
        raw = await workflow.execute_activity(
            operation.name,
            request,
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
    operation: Operation[Request, Reply], request: Request, at_most: timedelta, summary: str | None
) -> Outcome[Reply]:
    """Run a local activity. After a crash it runs again, because its result is not in the history yet: the service
    needs a fence."""
    try:
        raw = await workflow.execute_local_activity(
            operation.name,
            request,
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
        may_refuse: Callable[[str], bool] = lambda _: False,
    ) -> Done[Reply] | Refused | None:
        """Make rounds of attempts with durable pauses between them. The call is parked from its first failed round on.

        Returns `None` if an operator skipped it. A refusal whose code `may_refuse` allows is an answer; any other needs
        an operator, and the call stays parked. The pauses double with each automatic round. A round that an operator
        asks for changes nothing about them: the next automatic round comes when it was due.
        """
        rounds, made, due = 0, 0, workflow.now()
        decision: Decision | None = None
        while True:
            made += 1
            ended = await attempt(operation, request, policy, summary_of(operation, entry.kind, entry.name, made))
            if isinstance(ended, Done):
                self.desk.settle(entry.step)
                if entry.kind.is_skippable:
                    self.journal.settle(entry, Status.DONE, ended.attempts)
                return ended
            if isinstance(ended, Refused) and may_refuse(ended.code):
                self.desk.settle(entry.step)
                return ended
            rounds += decision is None
            now = workflow.now()
            due = due if due > now else now + self.rounds.pause(rounds)
            self.journal.settle(entry, Status.PARKED, ended.attempts, ended.code)
            error = Failure(ended.code, ended.message, entry.step)
            parked = Parked(entry.step, entry.kind, entry.parked_since or now, entry.attempts, due, error)
            self.desk.park(parked, operation, request)
            decision = await self._decision(parked, due - now)
            if isinstance(decision, Skip):
                self._skip(entry, decision, request, ended.code)
                return None
            if isinstance(decision, Fix):
                entry.note = f"request replaced by {decision.actor}"
                request = decision.request
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

    async def _decision(self, parked: Parked, pause: timedelta) -> Decision | None:
        """Return an operator's decision about a parked call, made now or while it was tried; `None` after `pause`."""
        if not self.desk.decided(parked.step):
            summary = f"{parked.step} parked: {parked.error.code}"
            await until(lambda: self.desk.decided(parked.step), pause, summary)
        return self.desk.take(parked.step)

    def _skip(self, entry: Entry, decision: Skip, request: Any, code: str) -> None:
        self.desk.settle(entry.step)
        entry.note = f"skipped by {decision.actor}: {decision.reason}"
        entry.skipped = Skipped(decision.actor, decision.reason, workflow.now(), transaction_of(request))
        self.journal.settle(entry, Status.SKIPPED, 0, code)
