"""What the harness learns of a saga before it makes cases: its calls, its undos, and what each of them changes.

A run without a fault shows the calls. A run for each call that is refused, and one in which the last reply is lost,
show the undos. An undo belongs to the step whose changes it takes back.
"""

import asyncio
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from temporalio.testing import WorkflowEnvironment

from temporal_saga.journal import CallKind, operation_of
from temporal_saga.testing.changes import Changes, less, plus
from temporal_saga.testing.faults import FAULTLESS, FAULTS_OF_A_CALL, FAULTS_OF_AN_UNDO, Case, Fault, Target
from temporal_saga.testing.injection import Deadline, Injection
from temporal_saga.testing.running import Execution, Run
from temporal_saga.testing.server import release_clock
from temporal_saga.testing.subject import Subject, fresh


class Unusable(Exception):
    """The harness cannot test this saga: the message says why, and what to change."""


@dataclass(frozen=True, eq=False)
class Call:
    """A forward call. `effect` is what it changes when nothing fails."""

    target: Target
    effect: Changes
    deadline: Deadline | None


@dataclass(frozen=True)
class Undo:
    """A compensation, and the call that it undoes, if the changes tell. `trigger` is a case whose rollback runs it."""

    target: Target
    undoes: Call | None
    trigger: Case


@dataclass
class Lesson:
    """What is known of a saga. `executions` has the runs that were made to learn it."""

    subject: Subject
    faultless: Execution
    calls: tuple[Call, ...] = ()
    undos: tuple[Undo, ...] = ()
    optional: set[str] = field(default_factory=set)
    executions: dict[Case, Execution] = field(default_factory=dict)

    def cases(self, faults: Collection[Fault] = tuple(Fault)) -> list[Case]:
        """All cases, in the order of the calls: each call with each fault, then each undo."""
        return [case for case in self._all() if case.fault in faults]

    def _all(self) -> Iterator[Case]:
        yield FAULTLESS
        for call in self.calls:
            yield from (Case(fault, call.target) for fault in FAULTS_OF_A_CALL if self._is_possible(fault, call))
        for undo in self.undos:
            yield from (Case(fault, undo.target, undo.trigger) for fault in FAULTS_OF_AN_UNDO)

    def _is_possible(self, fault: Fault, call: Call) -> bool:
        if fault is Fault.DEADLINE:
            return call.deadline is not None
        if fault is Fault.CANCELLED_ROLLBACK:
            return bool(self.undos_in(self.executions[Case(Fault.REFUSED, call.target)]))
        return True

    @property
    def forward(self) -> set[str]:
        return {call.target.activity for call in self.calls}

    def call(self, target: Target | None) -> Call | None:
        return next((call for call in self.calls if call.target == target), None)

    def binding(self, execution: Execution) -> Changes:
        """What a run changed by calls that are not optional."""
        total = execution.changes
        for attempt in execution.attempts:
            if self._is_optional(attempt.activity):
                for effect in (*attempt.effects, attempt.late_effect or {}):
                    total = less(total, effect)
        return total

    def _is_optional(self, activity: str) -> bool:
        return activity in self.optional or self._kinds(activity) == {CallKind.BEST_EFFORT}

    def undos_in(self, execution: Execution) -> list[str]:
        """The activity ids of the undos in a run, in the order in which they were first called."""
        return list(dict.fromkeys(each.call for each in execution.attempts if self.is_undo(each.activity)))

    def is_undo(self, activity: str) -> bool:
        """Whether an activity is an undo: by the transaction log, or because a run without a fault does not call it."""
        return activity not in self.forward and self._kinds(activity) <= {CallKind.UNDO}

    def _kinds(self, activity: str) -> set[CallKind]:
        """The kinds of an activity in the transaction logs of the runs that were made to learn the saga."""
        logs = [run.log for run in self.executions.values() if run.log is not None]
        return {entry.kind for log in logs for entry in log.steps if operation_of(entry.step) == activity}


async def execute(server: WorkflowEnvironment, subject: Subject, case: Case, lesson: Lesson | None) -> Execution:
    """Run one case to its end, late attempts included."""
    saga = await fresh(subject)
    run = Run(server, saga, case)
    forward = set() if lesson is None else lesson.forward
    call = None if lesson is None else lesson.call(case.target)
    injection = Injection(run, forward, None if call is None else call.deadline)
    before = await saga.snapshot(run.id)
    async with run.workers(injection.deliver, replaced=injection.replaces_the_worker):
        await run.start()
        drive = asyncio.create_task(injection.drive())
        end = await run.end()
        drive.cancel()
        [failed] = await asyncio.gather(drive, return_exceptions=True)
        if isinstance(failed, Exception):
            raise failed
        run.release.set()
        for delivery in run.late:
            await delivery.late()
        log, not_replayed = (None, "") if end.confirmed is None else await run.replay()
        execution = Execution(
            case=case,
            end=end,
            changes=await run.changes_since(before),
            attempts=run.records.attempts,
            history=await run.history(),
            injected=run.injected >= injection.calls,
            log=log,
            not_replayed=not_replayed,
        )
    if execution.history.open_calls or end.confirmed is None:
        await release_clock(server)
    return execution


async def learn(server: WorkflowEnvironment, subject: Subject) -> Lesson:
    """Run the saga without a fault, with each call refused, and with the last reply lost. Raises `Unusable`."""
    faultless = await execute(server, subject, FAULTLESS, None)
    lesson = Lesson(subject, faultless, executions={FAULTLESS: faultless})
    if not faultless.end.confirmed:
        raise Unusable(f"without a fault the saga {faultless.end.words}: it must end as confirmed")
    if not faultless.changes:
        raise Unusable("without a fault `state` shows no change: it must return what the saga changes")
    lesson.calls = tuple(_calls(faultless))
    lesson.optional = set((await fresh(subject)).optional)
    if not lesson.calls:
        raise Unusable("without a fault the saga calls no activity")
    learning = [Case(Fault.REFUSED, call.target) for call in lesson.calls]
    learning.append(Case(Fault.REPLY_LOST, lesson.calls[-1].target))
    for case in learning:
        lesson.executions[case] = await execute(server, subject, case, lesson)
    lesson.undos = tuple(_undos(lesson, learning))
    return lesson


def _calls(faultless: Execution) -> Iterator[Call]:
    """The calls in the order in which the workflow made them, which is the same in each run."""
    effects, names = dict[str, Changes](), dict[str, str]()
    for attempt in faultless.attempts:
        names[attempt.call] = attempt.activity
        for effect in attempt.effects:
            effects[attempt.call] = plus(effects.get(attempt.call, {}), effect)
    for target in _labelled(names):
        yield Call(target, effects.get(target.call, {}), _deadline(faultless, target))


def _labelled(names: dict[str, str]) -> Iterator[Target]:
    """The calls by their activity ids, which Temporal counts in the order of the workflow's code."""
    counted = Counter[str]()
    for call in sorted(names, key=lambda each: int(each) if each.isdecimal() else 0):
        activity = names[call]
        counted[activity] += 1
        yield Target(activity, call, activity if counted[activity] == 1 else f"{activity}#{counted[activity]}")


def _deadline(faultless: Execution, target: Target) -> Deadline | None:
    history = faultless.history
    for call in history.calls:
        timer = history.deadline_during(call)
        if call.call == target.call and timer is not None and history.began is not None:
            return Deadline((timer.due - history.began).total_seconds(), timer.due - call.at < call.attempt_timeout)
    return None


def _undos(lesson: Lesson, cases: list[Case]) -> Iterator[Undo]:
    """Each undo once, with the last case in which it runs: there most steps are done."""
    latest: dict[str, Undo] = {}
    for case in cases:
        execution = lesson.executions[case]
        names = {attempt.call: attempt.activity for attempt in execution.attempts}
        for target in _labelled({call: names[call] for call in lesson.undos_in(execution)}):
            latest[target.label] = Undo(target, _undone_by(lesson, execution, target), case)
    yield from latest.values()


def _undone_by(lesson: Lesson, execution: Execution, target: Target) -> Call | None:
    """The call whose changes the undo takes back, if there is one such call."""
    effect: Changes = {}
    for attempt in execution.attempts:
        if attempt.call == target.call:
            for each in attempt.effects:
                effect = plus(effect, each)
    shared = {
        call: sum(1 for place, change in call.effect.items() if effect.get(place, 0) * change < 0)
        for call in lesson.calls
    }
    most = max(shared.values(), default=0)
    best = [call for call, count in shared.items() if count == most and count]
    return best[0] if len(best) == 1 else None
