"""Writes the figures of a run into docs/performance.md, and the picture beside it: no figure there is typed by hand."""

import statistics
from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape

from bench.figures import Results
from bench.plan import FIFTY
from bench.processes import ROOT
from bench.table import FIGURES, number, tables

DOCUMENT = ROOT / "docs/performance.md"
BEGIN, END = "<!-- figures: python -m bench report -->", "<!-- end of figures -->"

_WIDTH, _NAMES, _VALUES = 860, 230, 70
_BAR, _GAP, _HEAD = 22, 8, 46
_OURS, _OTHERS = "#1f6feb", "#8c959f"


def write_report(results: Results, document: Path = DOCUMENT) -> None:
    """Replace what is between the marks of `document`, and write its picture."""
    text = document.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{document} has no place for figures between `{BEGIN}` and `{END}`")
    image = document.with_suffix(".svg")
    panels = {"Orders a second, 50 at once": "orders/s", "Processor time for an order, ms": "CPU ms"}
    image.write_text(picture({title: _bars(results, name) for title, name in panels.items()}), encoding="utf-8")
    document.write_text(f"{before}{BEGIN}\n{_figures(results, image.name)}{END}{after}", encoding="utf-8")


def _figures(results: Results, image: str) -> str:
    on = ", ".join(f"{name} {value}" for name, value in results.machine.items())
    with_ = ", ".join(f"{name} {value}" for name, value in results.versions.items())
    parts = [f"![Orders per second and processor time per order, for each contender]({image})\n"]
    parts += [f"Measured on: {on}. With: {with_}.\n"]
    for title, columns, rows in tables(results.samples):
        lines = [f"### {title[0].upper()}{title[1:]}\n", f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
        parts.append("\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)]) + "\n")
    parts += [f"Left out: {name}: {reason}.\n" for name, reason in results.left_out.items()]
    return "\n".join(parts)


def _bars(results: Results, figure: str) -> list[tuple[str, float]]:
    values: dict[str, list[float]] = {}
    for sample in results.samples:
        if sample.scenario == FIFTY.name:
            values.setdefault(sample.contender, []).append(FIGURES[figure](sample) or 0)
    return [(name, statistics.median(own)) for name, own in values.items()]


def picture(panels: dict[str, Sequence[tuple[str, float]]]) -> str:
    """An SVG: one panel of bars under the other. Bars are as long as their value: a short one is short."""
    shapes: list[str] = []
    top = 0
    for title, bars in panels.items():
        shapes += _panel(title, bars, top)
        top += _HEAD + len(bars) * (_BAR + _GAP)
    size = f'viewBox="0 0 {_WIDTH} {top + _GAP}" font-family="sans-serif" font-size="13"'
    ground = f'<rect width="{_WIDTH}" height="{top + _GAP}" fill="#ffffff"/>'
    return "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" {size}>', ground, *shapes, "</svg>\n"])


def _panel(title: str, bars: Sequence[tuple[str, float]], top: int) -> list[str]:
    longest = max((value for _, value in bars), default=0)
    shapes = [f'<text x="{_GAP}" y="{top + 30}" font-weight="bold" fill="#1f2328">{escape(title)}</text>']
    for line, (name, value) in enumerate(bars):
        y = top + _HEAD + line * (_BAR + _GAP)
        length = max(1.0, value / longest * (_WIDTH - _NAMES - _VALUES))
        middle = y + _BAR * 0.7
        colour = _OURS if name.startswith("ours") else _OTHERS
        shapes += [
            f'<text x="{_NAMES - _GAP}" y="{middle:.0f}" text-anchor="end" fill="#1f2328">{escape(name)}</text>',
            f'<rect x="{_NAMES}" y="{y}" width="{length:.1f}" height="{_BAR}" fill="{colour}"/>',
            f'<text x="{_NAMES + length + 6:.1f}" y="{middle:.0f}" fill="#1f2328">{number(value)}</text>',
        ]
    return shapes
