"""Writes the figures of a run into docs/performance.md, and the picture beside it: no figure there is typed by hand."""

from __future__ import annotations

from pathlib import Path

from bench.figures import Results
from bench.picture import Bar, picture
from bench.plan import FIFTY
from bench.processes import ROOT
from bench.table import COLUMNS, cells

DOCUMENT = ROOT / "docs/performance.md"
BEGIN, END = "<!-- figures: python -m bench report -->", "<!-- end of figures -->"


def write_report(results: Results, document: Path = DOCUMENT) -> None:
    """Replace what is between the marks of `document`, and write its picture."""
    text = document.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{document} has no place for figures between `{BEGIN}` and `{END}`")
    image = document.with_suffix(".svg")
    image.write_text(_picture(results), encoding="utf-8")
    document.write_text(f"{before}{BEGIN}\n{_figures(results, image.name)}{END}{after}", encoding="utf-8")


def _figures(results: Results, image: str) -> str:
    on = ", ".join(f"{name} {value}" for name, value in results.machine.items())
    with_ = ", ".join(f"{name} {value}" for name, value in results.versions.items())
    parts = [f"![Orders per second and processor time per order, for each contender]({image})\n"]
    parts += [f"Measured on: {on}. With: {with_}.\n"]
    for scenario in dict.fromkeys(row.scenario for row in results.rows):
        lines = [
            f"### {scenario[0].upper()}{scenario[1:]}\n",
            f"| {' | '.join(COLUMNS)} |",
            "|---" * len(COLUMNS) + "|",
        ]
        lines += ["| " + " | ".join(cells(row)) + " |" for row in results.rows if row.scenario == scenario]
        parts.append("\n".join(lines) + "\n")
    parts += [f"Left out: {name} ({reason}).\n" for name, reason in results.left_out.items()]
    return "\n".join(parts)


def _picture(results: Results) -> str:
    rows = [row for row in results.rows if row.scenario == FIFTY.name]
    by_rate = sorted(rows, key=lambda row: -row.orders_per_second.median)
    by_cost = sorted(rows, key=lambda row: row.cpu_ms.median)
    return picture(
        [
            ("Orders a second, 50 at once", [Bar(row.contender, row.orders_per_second.median) for row in by_rate]),
            ("Processor time for an order, ms", [Bar(row.contender, row.cpu_ms.median) for row in by_cost]),
        ]
    )
