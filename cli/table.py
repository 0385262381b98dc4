"""How rows are drawn: nothing is cut, whatever the width.

A column is whole and on one line, because its cells are there to be pasted (ids, steps, codes). Where a table is too
wide, its columns of the kind `Under` go under their row, from the last one on; then the `Spare` ones are left out; and
if that is not enough, each row becomes a paragraph.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.constrain import Constrain
from rich.rule import Rule
from rich.segment import Segment
from rich.style import Style
from rich.table import Table as Grid
from rich.text import Text

from runtime.visible import visible

_GAP = 2
_INDENT = 4
_SMALLEST_TEXT = 20
"""Narrower than this, a text would be a column of single words."""


class Under(str):
    """A column of text that may be long: under its row where the table is too wide with it."""

    __slots__ = ()


class Spare(str):
    """A column that a narrow table is without; `--json` has it."""

    __slots__ = ()


def shown(value: object) -> Text:
    """A cell or a part of a line. Only a `Text` of our own can have a colour."""
    return value if isinstance(value, Text) else Text(visible("" if value is None else str(value)))


@dataclass
class Table:
    """A title, columns and rows, to be printed with `soft_wrap`. `styles` has a style for each row, by its number."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    styles: Sequence[str] = ()
    _cells: list[list[Text]] = field(init=False)

    def __post_init__(self) -> None:
        self._cells = [[shown(cell) for cell in row] for row in self.rows]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if self.title:
            yield Text(self.title, "bold")
        used = [at for at, name in enumerate(self.columns) if not isinstance(name, Under) or self._has_any(at)]
        beside = self._fitting(used, options.max_width)
        if beside is None:
            yield from self._paragraphs(used, console, options.max_width)
        else:
            under = [at for at in used if at not in beside and isinstance(self.columns[at], Under)]
            yield from self._lines(beside, under, console, options)

    def _has_any(self, column: int) -> bool:
        return any(row[column] for row in self._cells)

    def _fitting(self, used: Sequence[int], width: int) -> list[int] | None:
        """The columns that are drawn beside one another; `None` if those that must be do not fit."""
        beside, left = list(used), list[int]()
        leaving = [at for kind in (Under, Spare) for at in reversed(used) if isinstance(self.columns[at], kind)]
        while self._needed(beside) > width:
            if not leaving:
                return None
            left.append(leaving.pop(0))
            beside.remove(left[-1])
        for at in left:  # one that left first may fit where a wider one has left after it
            if self._needed([*beside, at]) <= width:
                beside = sorted([*beside, at])
        return beside

    def _needed(self, columns: Sequence[int]) -> int:
        return sum(map(self._width, columns)) + _GAP * (len(columns) - 1)

    def _width(self, column: int) -> int:
        return max(cell_len(each) for each in (self.columns[column], *(row[column].plain for row in self._cells)))

    def _lines(
        self, beside: Sequence[int], under: Sequence[int], console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        grid = Grid(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, _GAP - 1, 0, 0))
        for at in beside:
            is_number = all(isinstance(row[at], int | float) or row[at] is None for row in self.rows) and self.rows
            grid.add_column(self.columns[at], no_wrap=True, justify="right" if is_number else "left")
        for number, row in enumerate(self._cells):
            grid.add_row(*(row[at] for at in beside), style=self._style(number))
        width = self._needed(beside) + _GAP
        head, rule, *lines = console.render_lines(grid, options.update(width=width), pad=False)
        texts = [self._text_under(row, under) for row in self._cells]
        yield from map(_Line, (head, rule))
        for number, (line, text) in enumerate(zip(lines, texts, strict=True)):
            if number and all(texts):
                yield Constrain(Rule(style="dim"), min(width, options.max_width))
            yield _Line(line)
            yield from _folded(text, console, options.max_width)

    def _text_under(self, row: Sequence[Text], under: Sequence[int]) -> Text:
        return Text(": ").join(row[at] for at in under if row[at])

    def _paragraphs(self, used: Sequence[int], console: Console, width: int) -> Iterator[RenderableType]:
        """Each row as its first cell, the others with their names below it, and the texts below these."""
        first, *others = used
        for number, row in enumerate(self._cells):
            yield Text.assemble(row[first], style=self._style(number) or "bold")
            texts = [at for at in others if isinstance(self.columns[at], Under)]
            named = [
                Text.assemble((f"{self.columns[at]} ", "dim"), row[at]) for at in others if at not in texts and row[at]
            ]
            yield from map(_indented, _flow(named, width - _INDENT))
            yield from _folded(self._text_under(row, texts), console, width)

    def _style(self, row: int) -> str:
        return self.styles[row] if self.styles else ""


@dataclass(frozen=True)
class _Line:
    """A line of a rendered table, without the spaces at its end."""

    segments: Sequence[Segment]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        text = Text.assemble(*((each.text, each.style or Style.null()) for each in self.segments))
        text.rstrip()
        yield text


def _flow(parts: Sequence[Text], width: int) -> Iterator[Text]:
    """The parts in lines of at most `width`; a part is never broken."""
    line = Text()
    for part in parts:
        if line and line.cell_len + _GAP + part.cell_len > width:
            yield line
            line = Text()
        line = Text.assemble(line, " " * _GAP if line else "", part)
    if line:
        yield line


def _folded(text: Text, console: Console, width: int) -> Iterator[Text]:
    if text:
        yield from map(_indented, text.wrap(console, max(width - _INDENT, _SMALLEST_TEXT)))


def _indented(line: Text) -> Text:
    line.rstrip()
    return Text.assemble(" " * _INDENT, line)
