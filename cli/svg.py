"""A picture of a saga as SVG: a column for each stage, and below each step its undo. It follows the page's colours."""

from typing import NamedTuple
from xml.sax.saxutils import escape

from cli.picture import EdgeKind, Node, Picture
from runtime.visible import visible
from temporal_saga import CallKind

_LETTER = 7.8
"""The width of a letter of a monospaced font of 13 px."""
_LINE, _PAD, _COLUMN_GAP, _ROW_GAP, _UNDO_GAP, _MARGIN, _HEAD = 18, 10, 64, 26, 24, 16, 44
_STYLE = """
text { font: 13px ui-monospace, Menlo, Consolas, monospace; fill: #1f2328 }
.ground { fill: #ffffff } .phase, .small { fill: #59636e } .title { font-weight: bold }
rect, path { fill: none; stroke: #59636e; stroke-width: 1.2 }
.box { fill: #f6f8fa } .pivot { stroke-width: 3 } .best_effort, .undo { stroke-dasharray: 5 3 }
.way-undo, .way-rollback { stroke-dasharray: 3 3 } .tip { fill: #59636e; stroke: none }
.DONE { fill: #dafbe1; stroke: #1a7f37 } .REFUSED { fill: #ffebe9; stroke: #cf222e }
.UNKNOWN { fill: #fff1e5; stroke: #bc4c00 } .PARKED, .SKIPPED { fill: #fbefff; stroke: #8250df }
.RUNNING, .WAITING { fill: #ddf4ff; stroke: #0969da } .NOT_MADE { opacity: 0.45 }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc } .ground { fill: #0d1117 } .phase, .small { fill: #9198a1 }
  rect, path { stroke: #9198a1 } .box { fill: #151b23 } .tip { fill: #9198a1 }
  .DONE { fill: #12261e; stroke: #3fb950 } .REFUSED { fill: #25171c; stroke: #f85149 }
  .UNKNOWN { fill: #272115; stroke: #db6d28 } .PARKED, .SKIPPED { fill: #221832; stroke: #ab7df8 }
  .RUNNING, .WAITING { fill: #121d2f; stroke: #4493f8 }
}
""".strip()


class _Box(NamedTuple):
    left: float
    top: float
    width: float
    height: float

    @property
    def middle(self) -> float:
        return self.top + self.height / 2

    @property
    def centre(self) -> float:
        return self.left + self.width / 2


def svg(picture: Picture) -> str:
    boxes = _laid_out(picture)
    width = max(box.left + box.width for box in boxes.values()) + _MARGIN
    height = max(box.top + box.height for box in boxes.values()) + _MARGIN
    shapes = [
        f'<path class="way-{edge.kind}" {_way(boxes, edge.start, edge.end, edge.kind)}/>' for edge in picture.edges
    ]
    for node in picture.nodes:
        shapes += _drawn(node, boxes[node.id], made=node.status is not None or not picture.is_of_a_log)
    if picture.title:
        width = max(width, len(picture.title) * _LETTER + 2 * _MARGIN)
        shapes.append(f'<text class="title" x="{_MARGIN}" y="{_MARGIN + 6}">{_text(picture.title)}</text>')
    tip = '<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
            f'height="{height:.0f}" role="img">',
            f"<style>\n{_STYLE}\n</style>",
            f'<defs>{tip}<path class="tip" d="M0 0L8 4L0 8z"/></marker></defs>',
            f'<rect class="ground" width="{width:.0f}" height="{height:.0f}" style="stroke: none"/>',
            *_phases(picture, boxes),
            *shapes,
            "</svg>\n",
        ]
    )


def _laid_out(picture: Picture) -> dict[str, _Box]:
    """The box of each node: a column for each stage, its calls in the middle, and undos below their steps."""
    head = _HEAD + (_LINE + _PAD if picture.title else 0)
    columns = [[_cell(picture, node) for node in stage] for stage in picture.stages()]
    heights = [sum(map(_height_of, column)) + _ROW_GAP * (len(column) - 1) for column in columns]
    boxes: dict[str, _Box] = {}
    left = float(_MARGIN)
    for column, height in zip(columns, heights, strict=True):
        width = max(_width(node) for cell in column for node in cell)
        top = head + (max(heights) - height) / 2
        for cell in column:
            for node in cell:
                boxes[node.id] = _Box(left, top, width, _height(node))
                top += _height(node) + _UNDO_GAP
            top += _ROW_GAP - _UNDO_GAP
        left += width + _COLUMN_GAP
    return boxes


def _cell(picture: Picture, node: Node) -> list[Node]:
    """A call and what is drawn below it: its undo, and below that of the first step the call that ends a rollback."""
    undo = picture.undo_of(node)
    ends = picture.after_undos if node.stage == 0 and undo is not None else []
    return [node, *([undo] if undo else []), *ends]


def _height_of(cell: list[Node]) -> float:
    return sum(map(_height, cell)) + _UNDO_GAP * (len(cell) - 1)


def _height(node: Node) -> float:
    return len(node.words) * _LINE + _PAD


def _width(node: Node) -> float:
    return max(len(visible(words)) for words in node.words) * _LETTER + 2 * _PAD


def _drawn(node: Node, box: _Box, *, made: bool) -> list[str]:
    classes = " ".join(filter(None, ["box", node.kind, node.status, "" if made else "NOT_MADE"]))
    corner = box.height / 2 if node.kind in (CallKind.UNDO, CallKind.BEST_EFFORT) else 3
    shapes = [
        f'<rect class="{classes}" x="{box.left:.1f}" y="{box.top:.1f}" width="{box.width:.1f}" '
        f'height="{box.height:.1f}" rx="{corner:.0f}"/>'
    ]
    for line, words in enumerate(node.words):
        y = box.top + _PAD / 2 + _LINE * (line + 0.75)
        style = "small" if line else ("" if made else "NOT_MADE")
        shapes.append(
            f'<text class="{style}" x="{box.centre:.1f}" y="{y:.1f}" text-anchor="middle">{_text(words)}</text>'
        )
    return shapes


def _way(boxes: dict[str, _Box], start: str, end: str, kind: EdgeKind) -> str:
    """An arrow: down to what is below, to the right on the way forward, and to the left on the way back."""
    one, other = boxes[start], boxes[end]
    if one.left == other.left:
        return f'd="M{one.centre:.1f} {one.top + one.height:.1f}V{other.top - 1:.1f}" marker-end="url(#tip)"'
    forward = kind is EdgeKind.NEXT
    x, to = (one.left + one.width, other.left - 1) if forward else (one.left, other.left + other.width + 1)
    bend = (x + to) / 2
    y, to_y = f"{one.middle:.1f}", f"{other.middle:.1f}"
    line = f"M{x:.1f} {y}C{bend:.1f} {y} {bend:.1f} {to_y} {to:.1f} {to_y}"
    return f'd="{line}" marker-end="url(#tip)"'


def _phases(picture: Picture, boxes: dict[str, _Box]) -> list[str]:
    """The name of each phase above its first column."""
    words, before = [], None
    top = _HEAD - _LINE + (_LINE + _PAD if picture.title else 0)
    for stage in picture.stages():
        if stage[0].phase is not before:
            before = stage[0].phase
            words.append(f'<text class="phase" x="{boxes[stage[0].id].left:.1f}" y="{top}">{before}</text>')
    return words


def _text(text: str) -> str:
    return escape(visible(text))
