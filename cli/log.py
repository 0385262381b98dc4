"""The transaction log for people: what was what, what ran side by side, who skipped what, and what is still to come."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from cli.table import Spare, Table, Under, shown
from cli.words import lasted
from client.handles import PendingCall
from client.look import Look
from client.standing import Closed, Standing, Untold, standing_of
from contracts.ids import Coordinator
from temporal_saga import CallKind, Entry, Parked, State, Status

_COLOURS: dict[Standing | Untold, str] = {
    State.CONFIRMED: "green",
    State.CONFIRMED_WITH_SKIPS: "red",
    State.ROLLED_BACK: "magenta",
    State.ROLLED_BACK_WITH_SKIPS: "red",
    State.PARKED: "bold red",
    Closed.CLOSED_FROM_OUTSIDE: "red",
    Untold.UNKNOWN: "red",
}
"""Colours that can be read on a dark and on a light background; a state that goes on is bold."""
_STATUS_COLOURS = {Status.REFUSED: "magenta", Status.UNKNOWN: "red", Status.PARKED: "red", Status.SKIPPED: "red"}
_COLUMNS = ("step", "kind", "status", "tries", Spare("after"), Spare("took"), Under("code"), Under("note"))
_TAKEN_UP_S = 3
"""Within this time a worker takes a call up, also a busy one."""


def standing(value: Standing | Untold) -> Text:
    return Text(value, style=_COLOURS.get(value, "bold"))


def span(seconds: float) -> str:
    """How long a call took, which may be milliseconds: `14 ms`, `22.0 s`, `15 min`, `2.5 h`."""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else lasted(timedelta(seconds=seconds))


class LogView:
    """A log with what a `Look` has beside it, as it stands at `now`."""

    def __init__(self, look: Look, now: datetime | None = None) -> None:
        self._look = look
        self._log = look.status.log
        self._now = now or datetime.now(UTC)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield self.headline.wrap(console, options.max_width)
        if not self._log.steps and not self._look.to_come:
            return
        marks = _Marks(ascii_only=options.ascii_only)
        rows = [*self._rows(marks), *self._rows_to_come(marks)]
        styles = ["bold" if e.kind is CallKind.PIVOT else "" for e in self._log.steps]
        yield Table("", _COLUMNS, rows, [*styles, *("dim" for _ in self._look.to_come)])

    @property
    def headline(self) -> Text:
        log, error = self._log, self._log.error
        why = f" — {error.code}: {error.message}" if error else ""
        at = f" (at {error.step})" if error and error.step else ""
        begun = f", begun {log.steps[0].started_at:%Y-%m-%d %H:%M:%S}Z" if log.steps else ""
        name = Coordinator.parse(log.transaction_id).name
        return Text.assemble(shown(f"{name}: "), standing(standing_of(log)), shown(self._whole + begun + why + at))

    @property
    def _whole(self) -> str:
        log = self._log
        if not log.steps or not log.state.is_end or any(entry.ended_at is None for entry in log.steps):
            return ""
        ended = max(entry.ended_at for entry in log.steps if entry.ended_at)
        return f" in {span((ended - log.steps[0].started_at).total_seconds())}"

    def _rows(self, marks: _Marks) -> Iterator[Sequence[object]]:
        steps = self._log.steps
        for entry, mark in zip(steps, marks.of_log(steps), strict=True):
            after = span((entry.started_at - steps[0].started_at).total_seconds())
            status = Text(entry.status, _STATUS_COLOURS.get(entry.status, ""))
            yield (mark + _name(entry), entry.kind, status, self._tries(entry), after, self._took(entry),
                   entry.error_code, self._note(entry))  # fmt: skip

    def _rows_to_come(self, marks: _Marks) -> Iterator[Sequence[object]]:
        stages = [step.stage for step in self._look.to_come]
        pivots = [step.kind is CallKind.PIVOT for step in self._look.to_come]
        for step, mark in zip(self._look.to_come, marks.of_groups(stages, pivots), strict=True):
            name = step.step if step.name is None else f"{step.name}: {step.step}"
            yield mark + name, step.kind, "to come", None, None, None, None, None

    def _tries(self, entry: Entry) -> int:
        pending = pending_of(entry, self._look)
        return entry.attempts + (pending.attempt if pending else 0)

    def _took(self, entry: Entry) -> str:
        took = span(((entry.ended_at or self._now) - entry.started_at).total_seconds())
        return took if entry.ended_at else f"{took} …"

    def _note(self, entry: Entry) -> str:
        is_said_above = self._log.error is not None and self._log.error.message == entry.note
        notes = [entry.note] if entry.note and not is_said_above else []
        if entry.skipped is not None:
            notes = [
                f"skipped by {entry.skipped.actor} at {entry.skipped.at:%Y-%m-%d %H:%M:%S}Z: {entry.skipped.reason}"
            ]
        if entry.next_question_at is not None:
            notes += [f"still working, next question {self._until(entry.next_question_at)}"]
        elif entry.ended_at is None:
            parked, pending = self._look.parked.get(entry.step), pending_of(entry, self._look)
            notes += self._parked(parked) if parked else []
            if pending is not None:
                notes += self._pending(entry, pending, is_parked=parked is not None)
        return "; ".join(notes)

    def _parked(self, parked: Parked) -> list[str]:
        since = f"parked for {span((self._now - parked.since).total_seconds())}"
        if parked.trying_since is not None:
            return [parked.error.message, f"{since}, being tried"]
        return [parked.error.message, f"{since}, next round {self._until(parked.next_attempt_at)}"]

    def _pending(self, entry: Entry, pending: PendingCall, *, is_parked: bool) -> list[str]:
        if _is_not_taken_up(entry, pending, self._now):
            return [f"waits for a worker of {entry.service}"]
        if is_parked:
            return []
        failed = [f"attempt {pending.attempt - 1} failed: {pending.failure}"] if pending.failure else []
        return [*failed, f"next attempt {self._until(pending.next_at)}"] if pending.next_at else failed

    def _until(self, at: datetime) -> str:
        seconds = (at - self._now).total_seconds()
        return f"in {span(round(seconds))}" if seconds >= 1 else "now"


class _Marks:
    """What stands before a step: a bracket around those that ran side by side, a diamond at the pivot."""

    def __init__(self, *, ascii_only: bool) -> None:
        self._top, self._middle, self._bottom, self._pivot = "/|\\*" if ascii_only else "┌│└◆"

    def of_log(self, steps: Sequence[Entry]) -> list[str]:
        return self.of_groups(_groups(steps), [entry.kind is CallKind.PIVOT for entry in steps])

    def of_groups(self, groups: Sequence[int], pivots: Sequence[bool]) -> list[str]:
        marks = []
        for at, group in enumerate(groups):
            before, after = groups[at - 1 : at] == [group], groups[at + 1 : at + 2] == [group]
            bracket = {(False, True): self._top, (True, True): self._middle, (True, False): self._bottom}
            mark = self._pivot if pivots[at] else bracket.get((before, after), " ")
            marks.append(f"{mark} ")
        return marks


def _groups(steps: Sequence[Entry]) -> list[int]:
    """A number for each step; neighbours with one number ran side by side, as they began before any of them ended.

    The pivot is alone, and so is a step from those of another direction or phase.
    """
    groups: list[int] = []
    first_end: datetime | None = None
    for at, entry in enumerate(steps):
        ended = entry.parked_since or entry.ended_at
        beside = at > 0 and _phase(entry) == _phase(steps[at - 1]) != CallKind.PIVOT
        if beside and (first_end is None or entry.started_at < first_end):
            groups.append(groups[-1])
            first_end = min(filter(None, (first_end, ended)), default=None)
        else:
            groups.append(at)
            first_end = ended
    return groups


def _phase(entry: Entry) -> CallKind:
    """Best-effort calls are made beside finishes."""
    return CallKind.FINISH if entry.kind is CallKind.BEST_EFFORT else entry.kind


def _name(entry: Entry) -> str:
    return entry.step if entry.name is None else f"{entry.name}: {entry.step}"


def told(look: Look, now: datetime) -> dict[tuple[str, CallKind], str]:
    """A line for each step, in which only changes change."""
    return {(entry.step, entry.kind): _told(entry, look, now) for entry in look.status.log.steps}


def _told(entry: Entry, look: Look, now: datetime) -> str:
    took = f" after {span((entry.ended_at - entry.started_at).total_seconds())}" if entry.ended_at else ""
    code = f" ({entry.error_code})" if entry.error_code else ""
    said = f"{_name(entry)} {entry.kind} {entry.status}{took}{code}"
    parked, attempt = look.parked.get(entry.step), _attempt(entry, look, now)
    if entry.next_question_at is not None:
        said += f": next question at {entry.next_question_at:%H:%M:%S}Z"
    if entry.status is Status.PARKED and parked is not None and parked.trying_since is None:
        said += f": {parked.error.message}; next round at {parked.next_attempt_at:%H:%M:%S}Z"
    return f"{said}, {attempt}" if attempt else said


def under_way(look: Look, now: datetime) -> str:
    """The calls that have not ended, in one line; the state, if there is none."""
    steps = look.status.log.steps
    open_calls = [_open_call(entry, look, now) for entry in steps if entry.ended_at is None]
    whole = f" ({span((now - steps[0].started_at).total_seconds())})" if steps else ""
    return (", ".join(open_calls) or str(look.status.log.state)) + whole


def _open_call(entry: Entry, look: Look, now: datetime) -> str:
    parked = "PARKED" if entry.status is Status.PARKED else ""
    return " ".join(filter(None, (_name(entry), parked, _attempt(entry, look, now))))


def _attempt(entry: Entry, look: Look, now: datetime) -> str:
    pending = pending_of(entry, look)
    if pending is not None and _is_not_taken_up(entry, pending, now):
        return f"waits for a worker of {entry.service}"
    attempt = entry.attempts + (pending.attempt if pending else 0)
    return f"attempt {attempt}" if pending and attempt > 1 else ""


def _is_not_taken_up(entry: Entry, pending: PendingCall, now: datetime) -> bool:
    waits = not pending.is_running and pending.next_at is None and pending.attempt == 1
    return waits and (now - (entry.parked_since or entry.started_at)).total_seconds() > _TAKEN_UP_S


def pending_of(entry: Entry, look: Look) -> PendingCall | None:
    return None if entry.ended_at else look.pending.get(entry.operation)
