"""All that the commands print: documents for programs, tables for people.

A `str` is shown as it is written, without markup, and with what a terminal would obey made visible: it may come from
any client. What is to have a colour is a `Text`.
"""

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self, TypeVar

from pydantic import BaseModel, TypeAdapter
from rich.console import Console, RenderableType
from rich.text import Text

from cli.log import LogView, standing
from cli.table import Table, shown
from client.engines.engine import OrderStatus
from client.look import Look
from client.standing import Standing, Untold, standing_of
from client.to_come import StepToCome
from contracts.ids import Coordinator
from runtime.commandline import write
from temporal_saga import DeskRecord, Entry, Failure, TransactionLog

T = TypeVar("T")
_ANY: TypeAdapter[Any] = TypeAdapter(Any)
MAX_SHOWN = 50
"""Findings printed for a person; the document has them all."""
stderr = Console(stderr=True)
"""Progress and remarks; stdout is for the result alone."""
state = standing
"""A saga's state in its colour."""
_UNBOUNDED = 100_000
"""The width of a pipe: no program that reads it needs folded lines."""


class Outcome(BaseModel):
    """How an order stands, as `place`, `status` and `bulk --outcomes` print it."""

    transaction_id: str
    order_id: str
    state: Standing | Untold
    error: Failure | None
    steps: tuple[Entry, ...]
    to_come: tuple[StepToCome, ...] = ()
    """The steps that will follow, if the saga goes on and can tell them."""

    @classmethod
    def of(cls, log: TransactionLog, to_come: Sequence[StepToCome] = ()) -> Self:
        return cls(
            transaction_id=log.transaction_id,
            order_id=Coordinator.parse(log.transaction_id).name,
            state=standing_of(log),
            error=log.error,
            steps=log.steps,
            to_come=tuple(to_come),
        )


def document(value: Any) -> None:
    """One JSON document on stdout, in ASCII: a terminal finds nothing to obey in it."""
    write(_ANY.dump_json(value, ensure_ascii=True).decode() + "\n")


def result(value: T, people: Callable[[T], None], *, json: bool) -> None:
    """The result of a command, as a document or as `people` are shown it."""
    document(value) if json else people(value)


def line(*parts: str | Text) -> None:
    Console().print(Text.assemble(*map(shown, parts)), soft_wrap=True)


def remark(text: str) -> None:
    """A line on stderr, also while a progress bar is there."""
    stderr.print(shown(text), soft_wrap=True)


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table that cuts nothing. Name a column of text `Under(…)`, and one that a narrow terminal can do without
    `Spare(…)`; any other is whole and on one line."""
    _draw(Table(title, columns, list(rows)))


def _draw(renderable: RenderableType) -> None:
    """Draw on stdout; on a terminal as wide as that, in a pipe as wide as its content."""
    columns, lines = shutil.get_terminal_size()  # rich takes every dumb terminal for one of 80 columns
    width = columns if Console().is_terminal else _UNBOUNDED
    Console(width=width, height=lines).print(renderable, soft_wrap=True)


def is_quiet(*, json: bool) -> bool:
    """Whether a command tells nothing on stderr while it waits: a program reads its document, and nobody looks on."""
    return json and not stderr.is_terminal


@contextmanager
def waiting(text: str) -> Iterator[None]:
    """Tell on stderr what the block waits for: beside a spinner, or in a line where nothing can move."""
    if stderr.is_interactive:
        with stderr.status(text):
            yield
    else:
        remark(text)
        yield


def outcome(log: TransactionLog, *, json: bool = False) -> None:
    """How an order has ended, or stands: nothing is known beside its log."""
    look(Look(OrderStatus(log, closed=True, coordinator=Coordinator.parse(log.transaction_id))), json=json)


def look(seen: Look, *, json: bool = False) -> None:
    result(Outcome.of(seen.status.log, seen.to_come), lambda _: _draw(LogView(seen)), json=json)


def started(log: TransactionLog, *, where: str | None = None, json: bool) -> None:
    """How to follow what nobody waits for. `where` it waits, if it has not begun."""
    name = Coordinator.parse(log.transaction_id).name

    def people(told: Outcome) -> None:
        follow = f"`starter.py status {name} --watch` follows it{' when it runs' if where else ''}"
        line(f"{name} ", where or state(told.state), f"; {follow}")

    result(Outcome.of(log), people, json=json)


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
