"""A picture of a saga as Mermaid, which GitHub and many editors draw."""

from cli.picture import EdgeKind, Node, Phase, Picture
from runtime.visible import visible
from temporal_saga import CallKind, Status

_SHAPES = {
    CallKind.STEP: ('["', '"]'),
    CallKind.PIVOT: ('{{"', '"}}'),
    CallKind.FINISH: ('["', '"]'),
    CallKind.BEST_EFFORT: ('(["', '"])'),
    CallKind.UNDO: ('("', '")'),
    CallKind.WAIT: ('[["', '"]]'),
}
_ARROWS = {EdgeKind.NEXT: "-->", EdgeKind.UNDO: "-. undo .->", EdgeKind.ROLLBACK: "-. then .->"}
_COLOURS = {
    Status.DONE: "#1a7f37",
    Status.REFUSED: "#cf222e",
    Status.UNKNOWN: "#bc4c00",
    Status.PARKED: "#8250df",
    Status.SKIPPED: "#8250df",
    Status.RUNNING: "#0969da",
    Status.WAITING: "#0969da",
}
"""Dark enough for white letters, and bright enough to stand out of a dark page."""
_ENTITIES = str.maketrans({"#": "#35;", '"': "#quot;", "<": "#lt;", ">": "#gt;", "`": "#96;", "'": "#39;"})


def mermaid(picture: Picture) -> str:
    """The flowchart. Undos run in the reverse order of their steps, which the chart does not draw as arrows: they would
    point against its direction."""
    lines = ["flowchart LR"]
    if picture.title:
        lines = ["---", f"title: '{_text(picture.title)}'", "---", *lines]
    for phase in Phase:
        nodes = [node for node in picture.nodes if node.phase is phase]
        if nodes:
            unmade = "NOT_MADE" if picture.is_of_a_log else None
            lines += [f"  subgraph {phase}", *(f"    {_box(node, node.status or unmade)}" for node in nodes), "  end"]
    ends = {node.id for node in picture.after_undos}
    lines += [
        f"  {edge.start} {_ARROWS[edge.kind]} {edge.end}"
        for edge in picture.edges
        if edge.kind is not EdgeKind.ROLLBACK or edge.end in ends
    ]
    lines += [f"  classDef {status} fill:{colour},stroke:{colour},color:#ffffff" for status, colour in _used(picture)]
    if picture.is_of_a_log:
        lines.append("  classDef NOT_MADE opacity:0.5")
    return "\n".join(lines) + "\n"


def _used(picture: Picture) -> list[tuple[Status, str]]:
    used = {node.status for node in picture.nodes}
    return [(status, colour) for status, colour in _COLOURS.items() if status in used]


def _box(node: Node, style: str | None) -> str:
    begin, end = _SHAPES[node.kind]
    return f"{node.id}{begin}{'<br/>'.join(map(_text, node.words))}{end}" + (f":::{style}" if style else "")


def _text(text: str) -> str:
    return visible(text).translate(_ENTITIES)
