"""`sweep`: finds orders and transactions whose workflow was closed without an end, and has them finished."""

from cli import session, show
from cli.session import Json
from cli.words import counted
from contracts import recovery
from contracts.recovery import SweepOrders, Swept
from runtime.commandline import Exit
from runtime.execute import execute


def sweep(json: Json = False) -> int:
    """Find orders whose workflow was closed without an end (terminated, timed out) and finish them."""
    swept = session.run(lambda client: execute(client, recovery.sweep, SweepOrders(), attempt_timeout=recovery.TIMEOUT))
    if json:
        show.document(swept.model_dump(exclude={"attempt"}))
    else:
        _show(swept)
    return Exit.OK if swept.finished == swept.found and not swept.failed else Exit.NOT_ENDED


def _show(swept: Swept) -> None:
    behind = counted(swept.found, "order or transaction was", "orders and transactions were")
    finished = counted(swept.finished, "of them is", "of them are")
    show.line(f"{behind} left behind, {finished} finished now" if swept.found else "nothing was left behind")
    for name in (*swept.orders, *swept.transactions):
        show.line(f"  {name}")
    for name in swept.unfinished:
        show.line(f"{name}: has no end yet, it goes on by itself; see `starter.py desk list`")
    for failure in swept.failures:
        show.line(f"{failure.id}: {failure.code}: {failure.message}")
    if swept.failed > len(swept.failures):
        show.line(f"… and {swept.failed - len(swept.failures)} more that could not be swept; the worker's log has them")
    if swept.leases_ended:
        holds = counted(swept.leases_ended, "hold", "holds")
        show.line(f"{holds} without an order and without a workflow: given back")
