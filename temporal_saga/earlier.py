"""What another execution of the same saga may have done that this one has not begun.

A saga can have more than one execution: its workflow is reset, or it is terminated and started again under its id. For
a call that the earlier execution made, the service's fence gives the later one the same answer. Two things no fence can
tell: what the earlier execution did beyond the step at which the later one fails, and, where a service does not answer,
whether the earlier one has passed the pivot. So the later one must know its whole body (`Saga.foresee`).
"""

from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias

from temporalio import workflow

from temporal_saga import outcome
from temporal_saga.journal import CallKind
from temporal_saga.operation import Operation
from temporal_saga.plan import Plan, PlannedCall

Body: TypeAlias = Callable[[Plan], Coroutine[Any, Any, Any]]
BEFORE_THE_FIRST_TASK = 3
"""Events of a history before its first workflow task completes: started, task scheduled, task started."""


class RerunDetector:
    """Detects that this workflow run repeats an earlier one: after a reset, or as a retry. Must be made when it begins.

    A replay must give the same answer at the same place. After a reset to a later task, Temporal gives the run a new
    random seed at that place. After a reset to the first task there is no old seed to compare with: the run has another
    id than the first run, and a failed task before its first one. (The SDK's `Replayer` gives such a history the old
    run id, so it can only replay one where this made no difference.)
    """

    def __init__(self) -> None:
        info = workflow.info()
        repeated = info.run_id != info.first_execution_run_id
        was_reset = repeated and info.get_current_history_length() > BEFORE_THE_FIRST_TASK
        self._from_the_start = was_reset or info.continued_run_id is not None
        self._seed = workflow.random_seed()

    @property
    def detected(self) -> bool:
        return self._from_the_start or workflow.random_seed() != self._seed


class EarlierExecutions:
    """What this execution knows of the others, and what it must assume of them."""

    def __init__(self, body: Body | None = None) -> None:
        self._whole_body = body
        self._parts: list[Body] = []
        self._rerun = RerunDetector()
        self._another_assumed = False
        self._repeats = False
        self._proven_undecided = False
        self._known: Counter[tuple[str, str | None]] = Counter()

    def foresee(self, part: Body) -> None:
        """Add to what this execution is going to do. A body that was given as a whole has it already."""
        self._parts.append(part)

    def assume_another(self) -> None:
        """Note that there was one, which may have done any part of the saga."""
        self._another_assumed = True

    def was_rolled_back(self, step: str) -> None:
        """Note that `step` was undone before: another execution is rolled back, so this one must be, too."""
        if not self._bodies:
            raise RuntimeError(
                f"{step} was undone by another execution of this saga, which may have done more: "
                "say with Saga.foresee what is to be undone"
            )
        self._another_assumed = True

    def was_done_before(self) -> None:
        """Note that a step had been done before this execution asked for it: another one was here, and may have gone
        further."""
        self._repeats = True

    def was_not_decided(self) -> None:
        """Note that a step or the pivot was refused, so no execution has passed the pivot."""
        self._proven_undecided = True

    def note_undo(self, undo: str, name: str | None) -> None:
        """Note that this execution runs this undo itself, if it is needed."""
        self._known[undo, name] += 1

    @property
    def is_rerun(self) -> bool:
        return self._rerun.detected or self._repeats

    @property
    def may_be_ahead(self) -> bool:
        return self._another_assumed or self.is_rerun

    def proves_not_decided(self, code: str) -> bool:
        """Whether a refusal of the pivot with `code` proves that no execution has passed it. The run may be reset while
        it waits for the answer, so this is known only when that has come."""
        return not self.may_be_ahead or outcome.proves_not_done(code)

    @property
    def may_have_decided(self) -> bool:
        """Whether another execution may have passed a pivot that this one has not reached."""
        if self._proven_undecided or not self.may_be_ahead:
            return False
        return any(stage.kind is CallKind.PIVOT for stage in self.follow().stages)

    @property
    def _bodies(self) -> list[Body]:
        return self._parts if self._whole_body is None else [self._whole_body]

    def follow(self) -> Plan:
        """The plan of what is foreseen. This runs the workflow's own code, which may ask `Saga.patched`."""
        plan = Plan()
        for body in self._bodies:
            plan.follow(body(plan))
        return plan

    def unseen(self) -> list[tuple[Operation[Any, Any], PlannedCall]]:
        """The undos that this execution has not registered, and the calls that they undo, in the order of the steps."""
        known, unseen = self._known.copy(), []
        for call in (call for stage in self.follow().stages for call in stage.calls):
            if call.undo is None:
                continue
            if known[call.undo.name, call.name]:
                known[call.undo.name, call.name] -= 1
            else:
                unseen.append((call.undo, call))
        return unseen
