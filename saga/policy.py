"""How long and how often a saga tries: every number, with its reason. Nothing is left to a library's default."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

from temporalio.common import RetryPolicy


@dataclass(frozen=True)
class Policy:
    """The bounds of one call: `attempts` tries of at most `attempt_timeout` each, all within `total`.

    `total` also bounds the wait for a worker: a call to a service that nobody serves ends after it, not never.
    """

    attempt_timeout: timedelta
    attempts: int
    total: timedelta
    first_pause: timedelta = timedelta(milliseconds=200)
    """Longer than a lost connection takes to be replaced, shorter than a person notices."""
    longest_pause: timedelta = timedelta(seconds=2)
    """Doubling stops here: longer would eat the caller's deadline, shorter would hammer a sick service."""
    local: timedelta | None = None
    """Colocated: before all that, one attempt of this long by the very worker that runs the workflow, without a task
    queue between. What it does not answer is asked over the queue as ever. Every worker of the workflow must know the
    operation by name, be it only to fail at it."""
    eager: timedelta | None = None
    """The same for a call that the history must know of: over the workflow's own queue, where the server hands it back
    to the worker that schedules it, with no poll between ("eager activity")."""

    def recorded_first(self) -> Policy:
        """The same policy for a call that must not be made before the history says so."""
        return replace(self, local=None, eager=self.local)

    def with_attempt_timeout(self, attempt_timeout: timedelta) -> Policy:
        """The same policy for a step with a timeout of its own; the total grows so that every attempt still fits."""
        pauses = self.longest_pause * (self.attempts - 1)
        return replace(self, attempt_timeout=attempt_timeout, total=attempt_timeout * self.attempts + pauses)

    def bounded_by(self, timeout: timedelta | None) -> Policy:
        """The same policy for a round that is over after `timeout`: its retries and the wait for a worker included."""
        if timeout is None:
            return self
        return replace(self, attempt_timeout=timeout, total=timeout, local=None, eager=None)

    def retried_for(self, timeout: timedelta) -> Policy:
        """The same policy for a call that is tried again until `timeout`: as many attempts as their pauses allow."""
        attempts, pause, begins = 1, self.first_pause, self.first_pause
        while pause and begins < timeout:
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

    They double, so a round comes at most as late again as the trouble has lasted. The longest is a day: in a year of
    trouble a call has about 380 rounds of 12 history events, and four of them, as many as an order can have parked at
    once, stay below half of Temporal's limit of 51,200.
    """

    first_pause: timedelta = timedelta(seconds=10)
    longest_pause: timedelta = timedelta(days=1)

    def pause(self, finished_rounds: int) -> timedelta:
        doublings = min(finished_rounds - 1, 30)  # 10 s doubled 30 times is past any cap: no overflow after a year
        pause: timedelta = self.first_pause * 2**doublings
        return min(pause, self.longest_pause)


_LOCAL = timedelta(seconds=2)
"""A hundred times a healthy call. The workflow's task stays open meanwhile, and needs no heartbeat before eight."""


@dataclass(frozen=True)
class Policies:
    """The policies of one saga. `forward` gives up, `undo` and `finish` park and go on, `best_effort` may fail."""

    forward: Policy = Policy(attempt_timeout=timedelta(seconds=5), attempts=4, total=timedelta(seconds=25))
    """Four attempts outlast a restarting worker; 4 x 5 s and the pauses are 21.4 s, well inside a 60 s deadline."""
    undo: Policy = Policy(attempt_timeout=timedelta(seconds=10), attempts=5, total=timedelta(seconds=30))
    """Nobody waits for an undo, so an attempt may take longer; 30 s and it is parked, where people can see it."""
    finish: Policy = Policy(attempt_timeout=timedelta(seconds=10), attempts=5, total=timedelta(seconds=30))
    """As for an undo: past the pivot the only way is forward."""
    best_effort: Policy = Policy(attempt_timeout=timedelta(seconds=5), attempts=3, total=timedelta(seconds=20))
    """What does not matter enough to hold up an end: three attempts, then the journal says it did not get through."""
    rounds: Rounds = Rounds()
    settle: timedelta = timedelta(seconds=2)
    """How long the rest of a parallel group may take to end after one of it failed. Ten times a healthy call, so that
    the outcome is nearly always known, and short enough that a hanging sibling does not hold up the unwinding."""

    def of_step(self, attempt_timeout: timedelta | None, within: timedelta | None) -> Policy:
        """The policy of a forward step that may have timeouts of its own."""
        policy = self.forward if within is None else self.forward.retried_for(within)
        return policy if attempt_timeout is None else policy.with_attempt_timeout(attempt_timeout)

    @property
    def are_colocated(self) -> bool:
        """Whether steps may be made before the history has them."""
        return self.forward.local is not None

    def colocated(self) -> Policies:
        """The same, for a saga whose workflow and services are likely to be in one process.

        Such a call is made before the history knows of it, so a worker that is thought dead may be ahead of the one
        that goes on. Never with the first step, a pivot or an undo, then: they go over a queue. And once the first
        step is known to be done, a rollback must undo the steps too that the history has not seen begin.
        """
        forward, finish = replace(self.forward, local=_LOCAL), replace(self.finish, local=_LOCAL)
        return replace(self, forward=forward, finish=finish, best_effort=replace(self.best_effort, local=_LOCAL))


POLICIES = Policies()
