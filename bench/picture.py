"""The picture: for each contender a bar of its orders a second and one of their cost, as an SVG of plain shapes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from bench.table import number

_WIDTH = 860
_NAMES = 230
_BAR = 22
_GAP = 8
_VALUES = 70
_HEAD = 46
_OURS, _OTHERS = "#1f6feb", "#8c959f"


@dataclass(frozen=True)
class Bar:
    name: str
    value: float


def picture(panels: Sequence[tuple[str, Sequence[Bar]]]) -> str:
    """One panel of bars under the other. Bars are as long as their value: a short one is short."""
    shapes: list[str] = []
    top = 0
    for title, bars in panels:
        shapes += _panel(title, bars, top)
        top += _HEAD + len(bars) * (_BAR + _GAP)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {top + _GAP}" font-family="sans-serif"'
            ' font-size="13">',
            f'<rect width="{_WIDTH}" height="{top + _GAP}" fill="#ffffff"/>',
            *shapes,
            "</svg>\n",
        ]
    )


def _panel(title: str, bars: Sequence[Bar], top: int) -> list[str]:
    longest = max(bar.value for bar in bars)
    shapes = [f'<text x="{_GAP}" y="{top + 30}" font-weight="bold" fill="#1f2328">{escape(title)}</text>']
    for line, bar in enumerate(bars):
        y = top + _HEAD + line * (_BAR + _GAP)
        length = max(1.0, bar.value / longest * (_WIDTH - _NAMES - _VALUES))
        colour = _OURS if bar.name.startswith("ours") else _OTHERS
        middle = y + _BAR * 0.7
        shapes += [
            f'<text x="{_NAMES - _GAP}" y="{middle:.0f}" text-anchor="end" fill="#1f2328">{escape(bar.name)}</text>',
            f'<rect x="{_NAMES}" y="{y}" width="{length:.1f}" height="{_BAR}" fill="{colour}"/>',
            f'<text x="{_NAMES + length + 6:.1f}" y="{middle:.0f}" fill="#1f2328">{number(bar.value)}</text>',
        ]
    return shapes
