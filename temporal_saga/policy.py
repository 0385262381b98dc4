"""Timeouts and retries of a saga, each number with its reason. No library default is used."""

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Self

from temporalio.common import Priority, RetryPolicy

_LONGEST_WORK = timedelta(days=1)
"""Longer than a nightly job, and soon enough for an operator to hear of work that does not end."""


@dataclass(frozen=True)
class Policy:
    """The bounds of one call: `attempts` tries of at most `attempt_timeout` each, all within `total`.

    `total` also bounds the wait for a worker: a call on a queue without workers ends after it.
    """

    attempt_timeout: timedelta
    attempts: int
    total: timedelta
    first_pause: timedelta = timedelta(milliseconds=200)
    """Longer than a client takes to reconnect, shorter than a customer notices."""
    longest_pause: timedelta = timedelta(seconds=2)
    """The pause stops doubling here: longer would use up the deadline, shorter would load a failing service."""
    local: timedelta | None = None
    """Colocated: the timeout of one attempt as a local activity, made before all others in the process of the workflow.
    If it gets no answer, the call goes over the operation's queue as usual. Every worker of the workflow must have an
    activity of that name registered, if only one that fails."""
    eager: timedelta | None = None
    """As `local`, but as an eager activity on the workflow's own queue: the history records the call before it runs,
    and the server hands it to the worker that scheduled it, without a poll."""
    longest_work: timedelta | None = _LONGEST_WORK
    """How long a service may answer STILL_WORKING, from the first question on. `None`: until the saga's deadline."""
    priority: Priority = Priority.default
    """The call's place in its queue, from 1, which is first, to 5. The default is its workflow's, and that is 3."""

    def recorded_first(self) -> Self:
        """The same policy for a call that the history must record before it runs."""
        return replace(self, local=None, eager=self.local)

    def with_attempt_timeout(self, attempt_timeout: timedelta) -> Self:
        """The same policy for a step with its own attempt timeout; the total grows so that every attempt fits."""
        pauses = self.longest_pause * (self.attempts - 1)
        return replace(self, attempt_timeout=attempt_timeout, total=attempt_timeout * self.attempts + pauses)

    def bounded_by(self, timeout: timedelta | None) -> Self:
        """The same policy for a round that ends after `timeout`, retries and the wait for a worker included."""
        if timeout is None:
            return self
        return replace(self, attempt_timeout=timeout, total=timeout, longest_work=timeout, local=None, eager=None)

    def within_the_rest(self, rest: timedelta, at_least: timedelta) -> Self:
        """The same policy for a question within `rest` of a longer time, or within `at_least` if that is over.

        It may be over, because a timer fires late where no worker was there.
        """
        rest = max(rest, at_least)
        return replace(self, attempt_timeout=min(self.attempt_timeout, rest), total=min(self.total, rest))

    def retried_for(self, timeout: timedelta) -> Self:
        """The same policy for a call that is retried until `timeout`, as often as the pauses allow."""
        attempts, pause, begins = 1, self.first_pause, self.first_pause
        while pause and begins < timeout:
            if pause == self.longest_pause:  # as all the others are: a year has half a million
                attempts += -((begins - timeout) // pause)
                break
            attempts += 1
            pause = min(pause * 2, self.longest_pause)
            begins += pause
        return replace(self.bounded_by(timeout), attempts=attempts)

    @property
    def retry_policy(self) -> RetryPolicy:
        return RetryPolicy(
            initial_interval=self.first_pause,
            backoff_coefficient=2.0,
            maximum_interval=self.longest_pause,
            maximum_attempts=self.attempts,
        )


@dataclass(frozen=True)
class Rounds:
    """The pauses between rounds of a call that must get through (an undo, a finish, the pivot).

    They double, so when a service is back, the next round comes after at most as long as it was away. The longest pause
    is a day: in a year, a failing call has about 380 rounds of 12 history events. An order can have four such calls at
    once; together they stay below half of Temporal's limit of 51,200 events.
    """

    first_pause: timedelta = timedelta(seconds=10)
    longest_pause: timedelta = timedelta(days=1)

    def pause(self, finished_rounds: int) -> timedelta:
        """The pause after this many rounds."""
        doublings = min(finished_rounds - 1, 30)  # 10 s doubled 30 times is past any cap: no overflow after a year
        pause: timedelta = self.first_pause * 2**doublings
        return min(pause, self.longest_pause)


_LOCAL = timedelta(seconds=2)
"""A hundred times a healthy call. The workflow task stays open meanwhile; it needs no heartbeat before 8 s."""


_PERSISTENT = Policy(
    attempt_timeout=timedelta(seconds=10), attempts=5, total=timedelta(seconds=30), priority=Priority(priority_key=2)
)


@dataclass(frozen=True)
class Policies:
    """The policies of one saga. `forward` gives up, `undo` and `finish` park and go on, `best_effort` may fail."""

    forward: Policy = Policy(attempt_timeout=timedelta(seconds=5), attempts=4, total=timedelta(seconds=25))
    """Four attempts last longer than a worker's restart; with pauses they take 21.4 s of a 60 s deadline."""
    undo: Policy = _PERSISTENT
    """No customer waits for an undo, so an attempt may take longer. After 30 s the undo is parked, where operators see
    it. A service that was away does its undos and finishes before new work, which would add to them."""
    finish: Policy = _PERSISTENT
    """The same as for an undo: past the pivot the saga must go forward."""
    best_effort: Policy = Policy(
        attempt_timeout=timedelta(seconds=5),
        attempts=3,
        total=timedelta(seconds=20),
        longest_work=timedelta(seconds=20),
    )
    """Three attempts, because this call must not hold up the end; then the journal records that it failed."""
    rounds: Rounds = Rounds()
    settle: timedelta = timedelta(seconds=2)
    """How long the other calls of a parallel group may take to end after one has failed. Ten times a healthy call, so
    that their outcomes are nearly always known, and short enough that a hanging call does not hold up the rollback."""

    def of_step(self, attempt_timeout: timedelta | None, within: timedelta | None) -> Policy:
        """The policy of a forward step that may have timeouts of its own."""
        if within is None:
            return self.forward if attempt_timeout is None else self.forward.with_attempt_timeout(attempt_timeout)
        policy = self.forward.retried_for(within)
        return replace(policy, attempt_timeout=min(attempt_timeout or within, within))

    @property
    def are_colocated(self) -> bool:
        """Whether steps may be made before the history has them."""
        return self.forward.local is not None

    def colocated(self) -> Self:
        """The same policies for a saga whose workflow and services are likely to run in one process.

        A local call is made before the history records it, so a worker that is thought dead may be ahead of the one
        that goes on. So the first step, the pivot and the undos are never local. Once the first step is done, a
        rollback also undoes the steps that the history has not seen begin: `Saga` needs its body for that.
        """
        forward, finish = replace(self.forward, local=_LOCAL), replace(self.finish, local=_LOCAL)
        return replace(self, forward=forward, finish=finish, best_effort=replace(self.best_effort, local=_LOCAL))


POLICIES = Policies()
