"""All that the commands print: documents for programs, tables for people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from pydantic import BaseModel, TypeAdapter
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from audit.report import Report
from client.standing import Closed, Standing, standing_of
from runtime.commandline import write
from saga import Entry, Failure, State, TransactionLog

_ANY: TypeAdapter[Any] = TypeAdapter(Any)
_COLOURS: dict[Standing, str] = {
    State.CONFIRMED: "green",
    State.ROLLED_BACK: "yellow",
    State.ROLLED_BACK_WITH_SKIPS: "red",
    State.PARKED: "red",
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
        order_id = log.transaction_id.rpartition("/")[2]
        return cls(
            transaction_id=log.transaction_id,
            order_id=order_id,
            state=standing_of(log),
            error=log.error,
            steps=log.steps,
        )


def document(value: Any) -> None:
    """One JSON document on stdout."""
    write(_ANY.dump_json(value).decode() + "\n")


def line(text: str) -> None:
    Console().print(text, soft_wrap=True, highlight=False)


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table; on a terminal as wide as that, in a pipe as wide as its content."""
    shown = Table(*columns, title=title, title_justify="left")
    for row in rows:
        shown.add_row(*("" if cell is None else str(cell) for cell in row))
    console = Console()
    if not console.is_terminal:
        console = Console(width=200)
    console.print(shown)


def state(value: Standing) -> str:
    colour = _COLOURS.get(value, "cyan")
    return f"[{colour}]{value}[/]"


def outcome(shown: Outcome) -> None:
    why = f" — {shown.error.code}: {escape(shown.error.message)}" if shown.error else ""
    at = f" (at {shown.error.step})" if shown.error and shown.error.step else ""
    line(f"{escape(shown.order_id)}: {state(shown.state)}{why}{at}")
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
    verdict = "[green]clean[/]" if report.clean else f"[red]{len(report.violations)} violations[/]"
    checks = ", ".join(f"{check} {count}" for check, count in report.checks.items())
    line(f"audit of {report.orders} orders: {verdict} ({checks})")
    for violation in report.violations[:MAX_SHOWN]:
        figures = ", ".join(f"{name}={value}" for name, value in violation.figures.items())
        line(f"  {violation.invariant} {escape(violation.subject)}: {escape(violation.message)} ({escape(figures)})")
    if len(report.violations) > MAX_SHOWN:
        line(f"  … and {len(report.violations) - MAX_SHOWN} more; --json lists all")
