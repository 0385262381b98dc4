"""What is wrong in a case, in words: the end that is not true, the order of the undos, effects that came twice."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations

from temporal_saga.journal import CallKind, TransactionLog
from temporal_saga.testing.changes import Changes, described, less
from temporal_saga.testing.faults import Case, Fault
from temporal_saga.testing.learning import Call, Lesson, Undo
from temporal_saga.testing.running import Execution

_TAKES_EFFECT_UNSEEN = {
    Fault.REPLY_LOST: "its reply was lost",
    Fault.CANCELLED_AFTER: "the saga was cancelled before its reply",
    Fault.CANCELLED_TWICE: "the saga was cancelled before its reply",
    Fault.DEADLINE: "the deadline passed before its reply",
}


@dataclass(frozen=True)
class Verdict:
    """How a case ended. `problems` has a sentence for each thing that is wrong.

    For a test's own code there are `calls`, the activities in the order in which they were first called, and `log`, if
    the workflow has one.
    """

    case: Case
    end: str
    problems: tuple[str, ...]
    calls: tuple[str, ...] = ()
    log: TransactionLog | None = None

    @property
    def is_good(self) -> bool:
        return not self.problems

    def __str__(self) -> str:
        return f"{self.case}: {'; '.join(self.problems) or self.end}"


def judge(lesson: Lesson, execution: Execution) -> Verdict:
    found = _Judgement(lesson, execution)
    calls = dict.fromkeys(attempt.activity for attempt in execution.attempts)
    problems = dict.fromkeys(found.problems())
    return Verdict(execution.case, execution.end.words, tuple(problems), tuple(calls), execution.log)


class _Judgement:
    def __init__(self, lesson: Lesson, execution: Execution) -> None:
        self._lesson = lesson
        self._run = execution
        self._case = execution.case
        self._labels = {call.target.call: call.target.label for call in lesson.calls}

    def problems(self) -> Iterator[str]:
        if not self._run.injected:
            label = self._case.target.label if self._case.target else "the saga"
            yield f"{label} was not called: the saga makes other calls than before"
        if self._run.end.confirmed is None:
            yield f"the saga {self._run.end.words}: it is left hanging"
            return
        if self._run.not_replayed:
            yield f"its history cannot be replayed, so a new worker could not go on with it: {self._run.not_replayed}"
        yield from self._untrue_log()
        yield from self._repeated()
        yield from self._wrong_order()
        changed = self._lesson.binding(self._run)
        if self._run.end.confirmed:
            yield from self._not_as_confirmed(changed, less(changed, self._lesson.binding(self._lesson.faultless)))
        else:
            yield from self._not_rolled_back(changed)

    def _untrue_log(self) -> Iterator[str]:
        log = self._run.log
        if log is None:
            return
        if log.state.is_confirmed is not self._run.end.confirmed:
            yield f"the saga {self._run.end.words}, but its transaction log says {log.state}"
        for entry in log.steps:
            if entry.ended_at is None:
                yield f"the saga {self._run.end.words}, and {entry.step} is still {entry.status} in its transaction log"

    # --- effects that came twice, or too late -----------------------------------------------------------------------

    def _repeated(self) -> Iterator[str]:
        for attempt in self._run.attempts:
            again = [effect for effect in attempt.effects[1:] if effect]
            if again:
                yield f"{attempt.activity} is not idempotent: delivered twice, it changed {described(again[0])} again"
            if attempt.late_effect and not self._run.end.confirmed:
                yield self._too_late(attempt.call, described(attempt.late_effect))
            if attempt.late_effect and self._run.end.confirmed and self._worked(attempt.call):
                yield f"{attempt.activity} is not idempotent: a late attempt took effect a second time"

    def _too_late(self, call: str, effect: str) -> str:
        undo = next((undo for undo in self._lesson.undos if undo.undoes and undo.undoes.target.call == call), None)
        late = f"a late attempt of {self._labels[call]} took effect ({effect})"
        if undo is not None and self._ran(undo):
            return f"{late} after {undo.target.label}, so nothing undoes it: the service needs a fence"
        return f"{late}, and its undo was never called: forgotten undo, or registered only after the step?"

    def _worked(self, call: str) -> bool:
        return any(attempt.took_effect for attempt in self._run.attempts if attempt.call == call)

    # --- the order of the undos -------------------------------------------------------------------------------------

    def _wrong_order(self) -> Iterator[str]:
        """An undo that had ended before the undo of a later step began. Calls made side by side have no order, and one
        that the saga has called to find out whether it is decided (`Saga.try_cancel_decision`) comes first."""
        log = self._run.log
        decided = {entry.operation for entry in log.steps if entry.kind is CallKind.PIVOT} if log is not None else set()
        ran = [(each, undo) for each in self._lesson.undos_in(self._run) if (undo := self._undo(each)) is not None]
        first: dict[str, tuple[str, Undo, Call]] = {}
        for call, undo in ran:
            if undo.undoes is not None and undo.target.activity not in decided:
                first.setdefault(undo.target.label, (call, undo, undo.undoes))
        for (early, undo, of), (late, later_undo, later) in permutations(first.values(), 2):
            in_order = self._lesson.faultless.history.precedes(of.target.call, later.target.call)
            if in_order and self._run.history.precedes(early, late):
                yield (
                    f"undone in the wrong order: {undo.target.label} ended before {later_undo.target.label} began,"
                    f" but {later.target.label} came after {of.target.label}"
                )
                return

    def _undo(self, call: str) -> Undo | None:
        [activity] = {attempt.activity for attempt in self._run.attempts if attempt.call == call}
        return next((undo for undo in self._lesson.undos if undo.target.activity == activity), None)

    # --- the end ----------------------------------------------------------------------------------------------------

    def _not_as_confirmed(self, changed: Changes, wrong: Changes) -> Iterator[str]:
        """`wrong` is what differs from the state after a run without a fault."""
        if not wrong:
            return
        if not changed:
            yield "the saga ends as confirmed, but all of it is undone: does its result say so (`is_confirmed`)?"
            return
        explained = False
        for call in self._lesson.calls:
            sign = _sign(wrong, call.effect)
            label = call.target.label
            if sign < 0:
                explained = True
                yield f"the saga ends as confirmed, but {label} is not done: {self._why_not_done(call)}"
            elif sign > 0:
                explained = True
                if not any(attempt.effects[1:] for attempt in self._run.attempts):  # `_repeated` has said so
                    yield f"{label} took effect more than once: it is not idempotent"
        if not explained:
            yield "the saga ends as confirmed, but the state is not that of a run without a fault"
        yield f"differs from a run without a fault: {described(wrong)}"

    def _why_not_done(self, call: Call) -> str:
        undone = [undo.target.label for undo in self._lesson.undos if undo.undoes is call and self._ran(undo)]
        if undone:
            return f"{undone[0]} has undone it"
        if any(attempt.call == call.target.call for attempt in self._run.attempts):
            return "is its failure, or the cancellation, swallowed?"
        return "it was not called"

    def _not_rolled_back(self, left: Changes) -> Iterator[str]:
        if not left:
            return
        late = {attempt.call for attempt in self._run.attempts if attempt.late_effect}
        explained = bool(late)
        for call in self._lesson.calls:
            sign = _sign(left, call.effect)
            undo = next((undo for undo in self._lesson.undos if undo.undoes is call), None)
            if sign > 0 and self._worked(call.target.call) and call.target.call not in late:
                yield self._never_undone(call, undo)
            elif sign < 0 and undo is not None:
                yield self._undone_too_often(call, undo)
            else:
                continue
            explained = True
        if not explained:
            yield f"the saga {self._run.end.words}, but the state is not as before"
        yield f"left behind: {described(left)}"

    def _undone_too_often(self, call: Call, undo: Undo) -> str:
        if not self._worked(call.target.call):
            return f"{undo.target.label} took back what {call.target.label} had not done: it must look first"
        return f"{undo.target.label} took back more than {call.target.label} had done: it is not idempotent"

    def _never_undone(self, call: Call, undo: Undo | None) -> str:
        label = call.target.label
        unseen = _TAKES_EFFECT_UNSEEN.get(self._case.fault)
        if undo is not None and self._ran(undo):
            if not self._answered(undo):
                return f"{label} took effect and is not undone: {undo.target.label} was given up"
            return f"{label} took effect, and {undo.target.label} did not undo it"
        if self._case.target != call.target or unseen is None:
            why = "forgotten undo?" if undo is None else f"{undo.target.label} was not called"
            return f"{label} took effect and was never undone: {why}"
        missing = "forgotten undo, or registered" if undo is None else f"is {undo.target.label} registered"
        return f"{label} took effect, {unseen}, and it was never undone: {missing} only after the step?"

    def _ran(self, undo: Undo) -> bool:
        return any(attempt.activity == undo.target.activity for attempt in self._run.attempts)

    def _answered(self, undo: Undo) -> bool:
        """Whether the undo reached its service."""
        return any(attempt.effects for attempt in self._run.attempts if attempt.activity == undo.target.activity)


def _sign(wrong: Changes, effect: Changes) -> int:
    """1 if `wrong` has a change of `effect`, -1 if it has one the other way round, 0 if it has neither."""
    signs = [1 if wrong[place] * change > 0 else -1 for place, change in effect.items() if place in wrong]
    return 0 if not signs else signs[0]
