"""All that the commands print: documents for programs, tables for people.

A `str` is shown as it is written, without markup, and with what a terminal would obey made visible: it may come from
any client. What is to have a colour is a `Text`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from pydantic import BaseModel, TypeAdapter
from rich.console import Console
from rich.table import Table
from rich.text import Text

from audit.report import Report
from runtime.commandline import write
from runtime.visible import visible
from saga import Entry, Failure, State, TransactionLog

_ANY: TypeAdapter[Any] = TypeAdapter(Any)
_COLOURS = {
    State.CONFIRMED: "green",
    State.ROLLED_BACK: "yellow",
    State.ROLLED_BACK_WITH_SKIPS: "red",
    State.PARKED: "red",
}
MAX_SHOWN = 50
"""Violations printed for a person; the document has them all."""
stderr = Console(stderr=True)
"""Progress and remarks; stdout is for the result alone."""


class Outcome(BaseModel):
    """How an order stands, as `place`, `status` and `bulk --outcomes` print it."""

    transaction_id: str
    order_id: str
    state: State
    error: Failure | None
    steps: tuple[Entry, ...]

    @classmethod
    def of(cls, log: TransactionLog) -> Outcome:
        order_id = log.transaction_id.rpartition("/")[2]
        return cls(
            transaction_id=log.transaction_id, order_id=order_id, state=log.state, error=log.error, steps=log.steps
        )


def document(value: Any) -> None:
    """One JSON document on stdout, in ASCII: a terminal finds nothing to obey in it."""
    write(_ANY.dump_json(value, ensure_ascii=True).decode() + "\n")


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


def state(value: State) -> Text:
    return Text(value, style=_COLOURS.get(value, "cyan"))


def _shown(value: object) -> Text:
    return value if isinstance(value, Text) else Text(visible(str(value)))


def outcome(shown: Outcome) -> None:
    why = f" — {shown.error.code}: {shown.error.message}" if shown.error else ""
    at = f" (at {shown.error.step})" if shown.error and shown.error.step else ""
    line(f"{shown.order_id}: ", state(shown.state), f"{why}{at}")
    rows = [
        (_name(e), e.kind, e.status, e.attempts, _time(e.started_at), _lasted(e), e.error_code) for e in shown.steps
    ]
    table("", ["step", "kind", "status", "attempts", "started (UTC)", "ms", "code"], rows)


def _name(entry: Entry) -> str:
    return entry.step if entry.name is None else f"{entry.name}: {entry.step}"


def _time(at: datetime) -> str:
    return f"{at:%H:%M:%S}.{at.microsecond // 1000:03}"


def _lasted(entry: Entry) -> str:
    if entry.ended_at is None:
        return "…"
    return f"{(entry.ended_at - entry.started_at).total_seconds() * 1000:.0f}"


def audit(report: Report) -> None:
    verdict = Text("clean", "green") if report.clean else Text(f"{len(report.violations)} violations", "red")
    checks = ", ".join(f"{check} {count}" for check, count in report.checks.items())
    line(f"audit of {report.orders} orders: ", verdict, f" ({checks})")
    for violation in report.violations[:MAX_SHOWN]:
        figures = ", ".join(f"{name}={value}" for name, value in violation.figures.items())
        line(f"  {violation.invariant} {violation.subject}: {violation.message} ({figures})")
    if len(report.violations) > MAX_SHOWN:
        line(f"  … and {len(report.violations) - MAX_SHOWN} more; --json lists all")
