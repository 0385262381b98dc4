"""`list`: the orders and transactions, one row each: what is parked first, then newest first."""

from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.text import Text
from temporalio.client import Client

from cli import session, show
from cli.session import Json
from cli.table import Spare, Under
from cli.words import counted, lasted
from client.listing import ListedOrder, listed
from client.orders import Orders
from client.standing import STANDINGS, Closed, Standing
from runtime.commandline import Exit

MAX_LISTED = 10_000


def _begun(incomplete: str) -> list[str]:
    """The states that the shell may complete, in the case in which one is begun."""
    names = [str(each).lower() if incomplete.islower() else str(each) for each in STANDINGS]
    return [name for name in names if name.startswith(incomplete)]


def list_(
    state: Annotated[
        str | None,
        typer.Option(
            metavar="STATE",
            help=f"Only orders in this state, in any case: {', '.join(STANDINGS)}.",
            autocompletion=_begun,
        ),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=MAX_LISTED)] = 20,
    json: Json = False,
) -> int:
    """The orders and transactions, what is parked first, then newest first.

    An order is a row, by the newest run of its workflow; `kind` says how it travels, and `coordinator` who decides.
    """
    wanted = None if state is None else _standing(state)
    orders = session.run(lambda client: _listed(client, wanted, limit))
    show.result(orders, lambda rows: _show(rows, limit), json=json)
    return Exit.OK


def _standing(text: str) -> Standing:
    for standing in STANDINGS:
        if standing == text.upper():
            return standing
    raise typer.BadParameter(
        f"{text[:80]!r} is not one of {', '.join(repr(str(each)) for each in STANDINGS)}.", param_hint="'--state'"
    )


async def _listed(client: Client, state: Standing | None, limit: int) -> list[ListedOrder]:
    def left_out(workflow_id: str, why: Exception) -> None:
        show.remark(f"{workflow_id} is left out: {why}")

    return await listed(Orders(client), state, limit, left_out)


def _show(orders: list[ListedOrder], limit: int) -> None:
    rows = [
        (o.order_id, o.kind, _state(o), o.error_code, f"{o.started_at:%Y-%m-%d %H:%M:%S}", _took(o), o.coordinator)
        for o in orders
    ]
    parked = sum(order.is_parked for order in orders)
    full = len(orders) == limit
    title = (
        ("the newest " if full else "")
        + counted(len(orders), "order")
        + (f", {parked} of them parked" if parked else "")
    )
    title += "; --limit N lists more" if full else ""
    columns = [
        "order",
        Spare("kind"),
        "state",
        Under("code"),
        Spare("started (UTC)"),
        Spare("took"),
        Spare("coordinator"),
    ]
    show.table(title, columns, rows)
    if parked:
        show.line("PARKED: a call does not get through; `starter.py desk list` says which, and why")
    if any(order.state is Closed.CLOSED_FROM_OUTSIDE for order in orders):
        show.line(f"{Closed.CLOSED_FROM_OUTSIDE}: `starter.py sweep` brings such an order to its end")
    if any(order.paused for order in orders):
        show.line("paused: `starter.py status ID` says since when, by whom, and how it goes on")


def _took(order: ListedOrder) -> str:
    return (
        lasted(order.ended_at - order.started_at)
        if order.ended_at
        else f"{lasted(datetime.now(UTC) - order.started_at)} …"
    )


def _state(order: ListedOrder) -> Text:
    return show.state(order.state).append(", paused" if order.paused else "", "red")
