"""`sweep`: finds orders whose workflow was closed without an end, and has them finished."""

from __future__ import annotations

from datetime import timedelta

from cli import session, show
from cli.session import Json
from contracts import recovery
from contracts.recovery import SweepOrders
from runtime.ask import ask
from runtime.commandline import Exit

_TIMEOUT = timedelta(minutes=10)
"""Thousands of orders after an outage; the next sweep takes what is left."""


def sweep(json: Json = False) -> int:
    """Find orders whose workflow was closed without an end (terminated, timed out) and finish them."""
    return session.run(_sweep, json=json)


async def _sweep(*, json: bool) -> int:
    swept = await ask(await session.connect(), recovery.sweep, SweepOrders(), attempt_timeout=_TIMEOUT)
    if json:
        show.document(swept.model_dump(exclude={"attempt"}))
    else:
        show.line(f"{swept.found} orders were left behind, {swept.finished} of them are finished now")
        for order_id in swept.orders:
            show.line(f"  {order_id}")
        if swept.leases_ended:
            show.line(f"{swept.leases_ended} holds without an order and without a workflow were given back")
    return Exit.OK if swept.finished == swept.found else Exit.NOT_ENDED
