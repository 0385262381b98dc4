"""What the Web UI shows of a workflow from its start on: a summary in one line, and details in Markdown.

Both are encrypted where payloads are. Even so, a customer's id and amounts are in them only where payloads are not, and
names, addresses and contacts never.
"""

from collections.abc import Sequence
from typing import TypedDict

from temporalio.client import Client

from contracts.order import Order

_LONGEST = 120
"""Limit on the characters of a summary. The server takes 400 bytes, and a character has up to four."""
_LISTED = 20
"""Lines, orders or steps in the details; the input has them all. The server takes 20,000 bytes."""


class Summary(TypedDict):
    """Two of the arguments of `Client.start_workflow`."""

    static_summary: str
    static_details: str


def of_order(client: Client, placed: Order, role: str, why: str = "") -> Summary:
    """`role` is what the workflow is for the order, in a word or two; `why` says more of it in the details."""
    lines = [f"{line.quantity} x {line.sku}" for line in placed.lines]
    told = "1 line" if len(lines) == 1 else f"{len(lines)} lines"
    listed = [f"`starter.py status {placed.order_id}` shows its transaction log."]
    if _is_clear(client):
        told = f"{placed.customer_id}: {_some(lines, 2)}; total_minor {placed.total_minor} {placed.currency}"
        listed = [*listed, "", *_items(lines)]
    bounds = f"To be confirmed within {placed.deadline_s:g} s; notification {placed.notification}."
    return _summary(f"{role}, {told}", [*([why, ""] if why else []), bounds, "", *listed])


def of_batch(order_ids: Sequence[str]) -> Summary:
    about = (
        "`starter.py status ID` shows the transaction log of one order, which may have a workflow of its own by now."
    )
    return _summary(f"{len(order_ids)} orders: {_some(order_ids, 3)}", [about, "", *_items(order_ids)])


def of_transaction(step_names: Sequence[str], *, resumed: bool) -> Summary:
    again = "resumed after its workflow was closed without an end, " if resumed else ""
    about = f"A transaction given as data, {again}of {len(step_names)} steps:"
    return _summary(f"{'resumed: ' if resumed else ''}{_some(step_names, 5)}", [about, "", *_items(step_names)])


def of_lane() -> Summary:
    about = "One transaction runs at a time, in the order of their entries; the current details say which."
    return _summary("serial lane", [about])


def of_sweep() -> Summary:
    about = "Finds orders and transactions whose workflow was closed without an end, and brings them to one."
    return _summary("finds what was left behind", [about])


def _is_clear(client: Client) -> bool:
    return client.data_converter.payload_codec is None


def _summary(line: str, details: Sequence[str]) -> Summary:
    short = line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"
    return Summary(static_summary=short, static_details="\n".join(details))


def _some(names: Sequence[str], count: int) -> str:
    """The first `count` names, and how many more there are."""
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + more


def _items(names: Sequence[str]) -> list[str]:
    """A list in Markdown."""
    more = [f"- and {len(names) - _LISTED} more"] if len(names) > _LISTED else []
    return [*(f"- {name}" for name in names[:_LISTED]), *more]
