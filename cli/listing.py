"""`list`: the orders and transactions, one row each, newest first."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.text import Text
from temporalio.client import Client

from cli import session, show
from cli.session import Json
from client.listing import ListedOrder, listed
from client.orders import Orders
from client.standing import STANDINGS, Closed, Standing
from runtime.commandline import Exit

MAX_LISTED = 10_000


def list_(
    state: Annotated[
        str | None,
        typer.Option(metavar="STATE", help=f"Only orders in this state: {', '.join(STANDINGS)}."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=MAX_LISTED)] = 20,
    json: Json = False,
) -> int:
    """The orders and transactions, newest first, with the state of their saga."""
    wanted = None if state is None else _standing(state)
    orders = session.run(lambda client: _listed(client, wanted, limit))
    show.result(orders, _show, json=json)
    return Exit.OK


def _standing(text: str) -> Standing:
    for standing in STANDINGS:
        if standing == text.upper():
            return standing
    raise typer.BadParameter(f"{text[:80]!r} is not one of {', '.join(repr(str(each)) for each in STANDINGS)}.")


async def _listed(client: Client, state: Standing | None, limit: int) -> list[ListedOrder]:
    def left_out(workflow_id: str, why: Exception) -> None:
        show.remark(f"{workflow_id} is left out: {why}")

    return [row async for row in listed(Orders(client), state, limit, left_out)]


def _show(orders: list[ListedOrder]) -> None:
    rows = [(o.order_id, _state(o), o.error_code, f"{o.started_at:%Y-%m-%d %H:%M:%S}") for o in orders]
    show.table(f"{len(orders)} orders", ["order", "state", "code", "started (UTC)"], rows)
    if any(order.state is Closed.CLOSED_FROM_OUTSIDE for order in orders):
        show.line(f"{Closed.CLOSED_FROM_OUTSIDE}: `starter.py sweep` brings such an order to its end")
    if any(order.paused for order in orders):
        show.line("paused: `starter.py status ID` says since when, by whom, and how it goes on")


def _state(order: ListedOrder) -> Text:
    return show.state(order.state).append(", paused" if order.paused else "", "red")
