"""All that the commands print: documents for programs, tables for people.

A `str` is shown as it is written, without markup, and with what a terminal would obey made visible: it may come from
any client. What is to have a colour is a `Text`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter
from rich.console import Console
from rich.table import Table
from rich.text import Text

from audit.report import Report
from client.standing import Closed, Standing, standing_of
from contracts.ids import Coordinator
from runtime.commandline import write
from runtime.visible import visible
from temporal_saga import DeskRecord, Entry, Failure, State, TransactionLog

T = TypeVar("T")
_ANY: TypeAdapter[Any] = TypeAdapter(Any)
_COLOURS: dict[Standing, str] = {
    State.CONFIRMED: "green",
    State.CONFIRMED_WITH_SKIPS: "red",
    State.ROLLED_BACK: "yellow",
    State.ROLLED_BACK_WITH_SKIPS: "red",
    State.PARKED: "bold magenta",
    Closed.CLOSED_FROM_OUTSIDE: "red",
}
MAX_SHOWN = 50
"""Violations printed for a person; the document has them all."""
stderr = Console(stderr=True)
"""Progress and remarks; stdout is for the result alone."""


class Outcome(BaseModel):
    """How an order stands, as `place`, `status` and `bulk --outcomes` print it."""

    transaction_id: str
    order_id: str
    state: Standing
    error: Failure | None
    steps: tuple[Entry, ...]

    @classmethod
    def of(cls, log: TransactionLog) -> Outcome:
        return cls(
            transaction_id=log.transaction_id,
            order_id=Coordinator.parse(log.transaction_id).name,
            state=standing_of(log),
            error=log.error,
            steps=log.steps,
        )


def document(value: Any) -> None:
    """One JSON document on stdout, in ASCII: a terminal finds nothing to obey in it."""
    write(_ANY.dump_json(value, ensure_ascii=True).decode() + "\n")


def result(value: T, people: Callable[[T], None], *, json: bool) -> None:
    """The result of a command, as a document or as `people` are shown it."""
    document(value) if json else people(value)


def line(*parts: str | Text) -> None:
    Console().print(Text.assemble(*map(_shown, parts)), soft_wrap=True)


def remark(text: str) -> None:
    """A line on stderr, also while a progress bar is there."""
    stderr.print(_shown(text), soft_wrap=True)


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table; on a terminal as wide as that, in a pipe as wide as its content."""
    shown = Table(*columns, title=title, title_justify="left")
    for row in rows:
        shown.add_row(*(_shown("" if cell is None else cell) for cell in row))
    console = Console()
    if not console.is_terminal:
        console = Console(width=200)
    console.print(shown)


def state(value: Standing) -> Text:
    return Text(value, style=_COLOURS.get(value, "cyan"))


def _shown(value: object) -> Text:
    return value if isinstance(value, Text) else Text(visible(str(value)))


def outcome(log: TransactionLog, *, json: bool = False) -> None:
    result(Outcome.of(log), _outcome, json=json)


def notes(log: TransactionLog) -> None:
    """What keeps calls from being tried, where the order's error is another one."""
    for entry in log.steps:
        if entry.note is not None and entry.ended_at is None:
            line(entry.note)


def _outcome(shown: Outcome) -> None:
    why = f" — {shown.error.code}: {shown.error.message}" if shown.error else ""
    at = f" (at {shown.error.step})" if shown.error and shown.error.step else ""
    line(f"{shown.order_id}: ", state(shown.state), f"{why}{at}")
    rows = [
        (_name(e), e.kind, _status(e), e.attempts, _time(e.started_at), _lasted(e), e.error_code) for e in shown.steps
    ]
    table("", ["step", "kind", "status", "attempts", "started (UTC)", "ms", "code"], rows)


def _name(entry: Entry) -> str:
    return entry.step if entry.name is None else f"{entry.name}: {entry.step}"


def _status(entry: Entry) -> str:
    """The status of a call, and when the service that works on it is asked again."""
    return entry.status if entry.next_question_at is None else f"{entry.status} until {_time(entry.next_question_at)}"


def _time(at: datetime) -> str:
    return f"{at:%H:%M:%S}.{at.microsecond // 1000:03}"


def _lasted(entry: Entry) -> str:
    if entry.ended_at is None:
        return "…"
    return f"{(entry.ended_at - entry.started_at).total_seconds() * 1000:.0f}"


def desk_record(shown: DeskRecord) -> None:
    """One call of the desk, with both requests if an operator has replaced the first."""
    call = shown.parked
    line(f"{shown.step}: {f'parked since {call.since:%Y-%m-%d %H:%M:%S}Z' if call else 'settled'}")
    replaced = shown.request != shown.original
    for title, request in [("request", shown.request), *([("request at first", shown.original)] if replaced else [])]:
        line(f"{title}:")
        for row in _ANY.dump_json(request, indent=2).decode().split("\n"):
            line(f"  {row}")
    for each in shown.decisions:
        reason = f": {each.reason}" if each.reason else ""
        line(f"{each.at:%Y-%m-%d %H:%M:%S}Z {each.decision} by {(each.actor or 'an operator') + reason}")
    if shown.waits is not None:
        line(f"the {shown.waits} is applied when the running attempts are over")


def audit(report: Report) -> None:
    verdict = Text("clean", "green") if report.clean else Text(f"{len(report.violations)} violations", "red")
    checks = ", ".join(f"{check} {count}" for check, count in report.checks.items())
    line(f"audit of {report.orders} orders: ", verdict, f" ({checks})")
    for violation in report.violations[:MAX_SHOWN]:
        told = f"{violation.message} ({_figures(violation.figures)})"
        line(f"  {violation.invariant} {violation.subject}: {told}")
    if len(report.violations) > MAX_SHOWN:
        line(f"  … and {len(report.violations) - MAX_SHOWN} more; --json lists all")
    for skip in report.skips[:MAX_SHOWN]:
        decided = f"skipped by {skip.actor} at {skip.decided_at:%Y-%m-%d %H:%M:%S}Z: {skip.reason}"
        line(f"  known: {skip.subject}: {skip.step} {decided} ({_figures(skip.figures)})")
    if len(report.skips) > MAX_SHOWN:
        line(f"  … and {len(report.skips) - MAX_SHOWN} more skips; --json lists all")


def _figures(figures: Mapping[str, int | str | None]) -> str:
    return ", ".join(f"{name}={value}" for name, value in figures.items())
