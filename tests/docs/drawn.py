"""What the documents draw of the process: two pictures, and the table of the choreography.

`python -m tests.docs` writes them from the code.
"""

import re
from collections.abc import Callable
from pathlib import Path

from cli.graph import plan_of, sample
from cli.mermaid import mermaid
from cli.picture import Picture, picture_of
from cli.svg import svg
from contracts.order import NotificationMode
from workflows.choreography import Reaction

from ..roles import roles_in

ROOT = Path(__file__).parents[2]
OUTDATED = "the process has changed, and what is drawn of it has not: run .venv/bin/python -m tests.docs"
_HEADER = "| service | when these events have arrived | it calls | and publishes |\n|---|---|---|---|\n"


def _picture() -> Picture:
    return picture_of(plan_of(sample()))


def _with_mermaid(text: str) -> str:
    [drawn] = re.findall(r"^```mermaid\n.*?^```\n", text, re.MULTILINE | re.DOTALL)
    return text.replace(drawn, f"```mermaid\n{mermaid(_picture())}```\n")


def _with_table(text: str) -> str:
    [drawn] = re.findall(rf"^{re.escape(_HEADER)}(?:\|.*\n)+", text, re.MULTILINE)
    roles = roles_in(NotificationMode.BEST_EFFORT)
    rows = [_row(service, reaction) for service, role in roles.items() for reaction in role.reactions]
    return text.replace(drawn, _HEADER + "".join(rows))


def _row(service: str, reaction: Reaction) -> str:
    heard = " or ".join(filter(None, [" + ".join(sorted(reaction.after)), *sorted(reaction.on)]))
    called = ", ".join(f"`{call.operation.name}`" for call in reaction.calls) or "nothing"
    said = f"{reaction.emits}, or {reaction.emits_on_failure}" if reaction.emits_on_failure else reaction.emits
    return f"| {service} | {heard} | {called} | {said} |\n"


DRAWN: dict[str, Callable[[str], str]] = {
    "README.md": _with_mermaid,
    "docs/order.svg": lambda _: svg(_picture()),
    "docs/choreography.md": _with_table,
}
"""For each file, its text with what is drawn in it put in the place of what was drawn before."""


def write() -> None:
    for file, drawn in DRAWN.items():
        path = ROOT / file
        path.write_text(drawn(path.read_text()))
