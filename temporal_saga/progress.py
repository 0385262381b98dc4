"""How far a saga is, and what ends its body before the pivot: a failed step, the deadline, a cancel, or an error."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from enum import Enum, auto

from temporalio import workflow
from temporalio.exceptions import ApplicationError

from temporal_saga import outcome
from temporal_saga.earlier import EarlierExecutions
from temporal_saga.journal import Failure
from temporal_saga.outcome import Unknown
from temporal_saga.waiting import run_to_completion, until

DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
"""The deadline passed before the pivot."""
WAIT_TIMEOUT = "WAIT_TIMEOUT"
"""What the saga waited for did not come in time."""


def deadline_exceeded(seconds: float) -> Failure:
    """The failure of a saga that was not past its pivot after `seconds`."""
    return Failure(DEADLINE_EXCEEDED, f"not confirmed within {seconds:.12g} s")


class StepFailed(Exception):
    """A forward step was refused, or its outcome is unknown; `failure` says why. Not caught, it rolls the saga back."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(f"{failure.code}: {failure.message}")
        self.failure = failure


class CancelRefused(Exception):
    """The pivot has been reached: the saga can only go forward."""


class DeadlineRefused(Exception):
    """The deadline cannot be moved: the saga is past its pivot or ends already, or the new time is past."""


class Phase(Enum):
    PREPARING = auto()
    ROLLING_BACK = auto()
    COMMITTED = auto()  # the pivot has been called: from here on only forward, unless it is refused


class Progress:
    """The phase of a saga, and `cause`: why its body is to stop. The first cause stays.

    A deadline or a cancel stops the body while it prepares. It has no effect where an earlier execution may have passed
    the pivot: then the body goes on until that is known.
    """

    def __init__(self, deadline: timedelta | None, earlier: EarlierExecutions) -> None:
        self.phase = Phase.PREPARING
        self.is_past_pivot = False
        """The pivot has been answered, here or in an earlier execution: only its finishes are left."""
        self.cause: Failure | None = None
        self._deadline = deadline
        self._earlier = earlier
        self._body: asyncio.Task[None] | None = None
        self._timer: asyncio.Task[None] | None = None
        self._begun: float | None = None
        self._due: float | None = None

    @property
    def may_be_decided(self) -> bool:
        """Whether an earlier execution may have passed the pivot that is still before this one."""
        return self.phase is Phase.PREPARING and self._earlier.may_have_decided

    def require(self, phase: Phase) -> None:
        """Raise `CancelledError` if the body is to stop, and `RuntimeError` if the saga is not in `phase`.

        The cause may have come together with a reply, and so has cancelled no wait. A deadline may pass within a
        workflow task, where no timer fires.
        """
        if self.phase is not phase:
            raise RuntimeError(f"this call belongs to {phase.name}, the saga is {self.phase.name}")
        if not self._can_be_stopped:
            return
        if self.cause is None and self._is_late:
            self.cause = self._late
        if self.cause is not None or workflow.cancellation_reason() is not None:
            raise asyncio.CancelledError

    # --- the deadline -------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Note that the current task runs the body, and that the deadline counts from now."""
        self._body = asyncio.current_task()
        self._begun = asyncio.get_running_loop().time()
        if self._due is None and self._deadline is not None:  # an update that moves it can run first
            self._due = self._begun + self._deadline.total_seconds()
        self._start_timer()

    @property
    def has_deadline(self) -> bool:
        return self._deadline is not None or self._due is not None

    def check_deadline(self, until: datetime) -> None:
        """Raise `DeadlineRefused` if the deadline cannot be moved to `until`."""
        if self.phase is Phase.COMMITTED:
            raise DeadlineRefused("the pivot has been reached: the deadline has no effect any more")
        if self.phase is Phase.ROLLING_BACK or self.cause is not None:
            raise DeadlineRefused("the saga is being rolled back")
        if until.tzinfo is None:
            raise DeadlineRefused(f"until: {until.isoformat()} has no time zone; {until.isoformat()}Z has one")
        if until <= workflow.now():
            raise DeadlineRefused(f"until: {until.isoformat()} is past, now it is {workflow.now().isoformat()}")

    def move_deadline(self, until: datetime) -> None:
        """Stop the body at `until`, whatever the deadline was. Raises `DeadlineRefused`."""
        self.check_deadline(until)
        self._due = until.timestamp()
        if self._begun is not None:
            self.stop_timer()
            self._start_timer()

    def commit(self) -> None:
        """Stop the deadline: the call that decides is about to be made."""
        self.phase = Phase.COMMITTED
        self.stop_timer()

    def reopen(self) -> None:
        """Go back before the pivot, which was refused. A workflow that catches the refusal still has its deadline."""
        self.phase = Phase.PREPARING
        self._start_timer()

    def stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _start_timer(self) -> None:
        if self._due is not None:
            self._timer = asyncio.create_task(self._expire(max(self._due - asyncio.get_running_loop().time(), 0)))

    async def _expire(self, seconds: float) -> None:
        await workflow.sleep(seconds, summary="deadline")
        self._stop_body(self._late)

    @property
    def _is_late(self) -> bool:
        late = self._due is not None and asyncio.get_running_loop().time() >= self._due
        return late and self._timer is not None

    @property
    def _late(self) -> Failure:
        assert self._due is not None  # noqa: S101 — the timer runs only with a deadline
        assert self._begun is not None  # noqa: S101 — and in a saga that was entered
        return deadline_exceeded(round(self._due - self._begun, 3))

    # --- a wait of the body -------------------------------------------------------------------------------------------

    async def wait_for(self, holds: Callable[[], bool], at_most: timedelta, summary: str) -> Unknown | None:
        """Wait until `holds()`, and return `None`, or why it did not hold.

        It waits for ever where an earlier execution may have passed the pivot, and so have gone on after this wait.
        """
        failed: Unknown | None = None
        if not self.may_be_decided:
            try:
                if holds() or await until(holds, at_most, summary):
                    return None
                self.require(Phase.PREPARING)  # a cancel or the deadline may have come together with it
                failed = Unknown(WAIT_TIMEOUT, f"it did not come within {at_most.total_seconds():.12g} s", 0)
            except asyncio.CancelledError:
                failed = Unknown(outcome.CANCELLED, "the saga was stopped while it waited", 0)
        if self.may_be_decided:
            await run_to_completion(_until_it_holds(holds))
            return None
        return failed

    # --- stopping the body --------------------------------------------------------------------------------------------

    def cancel(self, reason: str) -> None:
        self.check_cancellable()
        self._stop_body(Failure(outcome.CANCELLED, reason))

    def check_cancellable(self) -> None:
        if self.phase is Phase.COMMITTED:
            raise CancelRefused("the pivot has been reached: the saga can only go forward")
        if self.may_be_decided:
            raise CancelRefused("an earlier execution may have reached the pivot: ask again when that is known")

    def _stop_body(self, cause: Failure) -> None:
        """Stop the body where it waits. A body that has not begun stops before its first call (`require`)."""
        if self.cause is None and self._can_be_stopped:
            self.cause = cause
            if self._body is not None:
                self._body.cancel()

    @property
    def _can_be_stopped(self) -> bool:
        return self.phase is Phase.PREPARING and not self.may_be_decided

    # --- the end of the body ------------------------------------------------------------------------------------------

    def cause_of(self, error: BaseException | None) -> Failure | None:
        """Why a saga whose body ended with `error` must be rolled back. `None` if it is confirmed, and for a bug.

        Raises `RuntimeError`, which is a bug too, where the saga can neither be confirmed nor rolled back.
        """
        decided = self.phase is Phase.COMMITTED or (self.may_be_decided and not isinstance(error, StepFailed))
        if error is not None and decided:
            message = "past the pivot, await only calls of the saga: what else fails there has no undo"
            raise RuntimeError(message) from error
        cause = self.cause
        if cause is None and workflow.cancellation_reason() is not None and self.phase is Phase.PREPARING:
            cause = Failure(outcome.CANCELLED, workflow.cancellation_reason() or "the workflow was cancelled")
        if isinstance(error, StepFailed):
            return error.failure if cause is None or cause.code == outcome.STEP_UNDONE else cause
        if isinstance(error, asyncio.CancelledError) and cause is None:  # Temporal would end it, with nothing undone
            raise RuntimeError("cancelled, but nobody has asked the saga to stop") from error
        if error is None or isinstance(error, asyncio.CancelledError):
            return cause
        if isinstance(error, workflow.ContinueAsNewError):
            raise RuntimeError("continue as new after the block of the saga: its undos would be lost") from error  # noqa: TRY004 — a bug of the workflow
        if not workflow.is_failure_exception(error):
            return None
        code = error.type if isinstance(error, ApplicationError) and error.type else type(error).__name__
        return cause or Failure(code, str(error))


async def _until_it_holds(holds: Callable[[], bool]) -> None:
    while not await until(holds):
        pass
