"""`place`, `status`, `cancel` and `redo`."""

from functools import partial
from typing import Annotated

import typer
from pydantic import BaseModel
from temporalio.client import Client

from cli import documents, follow, session, show
from cli.session import Json, Yes
from client.engines.engine import Until
from client.errors import UnknownOrder
from client.look import Observer
from client.orders import Mode, Orders
from client.standing import Closed, standing_of
from contracts.errors import Code
from contracts.ids import Kind, order_id_of, participant_id
from contracts.order import Order
from runtime.commandline import CommandFailed, Exit
from runtime.connection import Unreachable
from runtime.settings import Settings, SettingsError
from temporal_saga import CallKind, State, TransactionLog


class CancelAnswer(BaseModel):
    order_id: str
    accepted: bool
    state: State


def place(
    file: Annotated[str | None, typer.Argument(help="An order document in JSON, or - for stdin.")] = None,
    item: Annotated[list[str] | None, typer.Option(help="SKU:QTY, repeatable, in place of a file.")] = None,
    customer: Annotated[str | None, typer.Option(help="With --item: whose account is charged; default c-1.")] = None,
    id: Annotated[str | None, typer.Option(help="With --item: the order's id; default: a new one.")] = None,  # noqa: A002 — the option's name
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Do not wait for the order's end.")] = False,
    until: Annotated[
        Until,
        typer.Option(
            metavar="WHAT",
            help="confirmed: return as soon as it is decided, while payment, stock and shipment are still being "
            "completed. ended: when all of that is done.",
        ),
    ] = Until.ENDED,
    mode: Annotated[
        Mode,
        typer.Option(
            metavar="MODE",
            help="saga: a workflow over the services' queues. colocated: the same, but the workflow's worker calls the "
            "services itself first. choreography: by events, without an orchestrator.",
        ),
    ] = Mode.SAGA,
    json: Json = False,
) -> int:
    """Place an order and wait for its end, or for its decision."""
    if (file is None) == (not item):
        raise CommandFailed(Code.USAGE, "place takes an order document (FILE or -), or --item SKU:QTY", Exit.INVALID)
    if file is not None and (customer is not None or id is not None):
        raise CommandFailed(Code.USAGE, "--customer and --id go with --item; a document has its own", Exit.INVALID)
    if mode is Mode.BATCH:
        message = "--mode batch is for many orders: see bulk; place takes saga, colocated or choreography"
        raise CommandFailed(Code.USAGE, message, Exit.INVALID)
    if no_wait and until is Until.CONFIRMED:
        message = "--no-wait waits for nothing, --until confirmed for the decision: leave one out"
        raise CommandFailed(Code.USAGE, message, Exit.INVALID)
    order = documents.order_of_options(item or [], customer, id) if file is None else documents.read_order(file)
    if no_wait:
        show.started(session.run(lambda client: Orders(client).start(order, mode)), json=json)
        return Exit.OK
    wait = follow.Wait(order.order_id, _workflow_of(order, mode), json=json)
    seen = wait.run(lambda client: Orders(client).place(order, mode, until))
    log = seen.status.log
    show.look(seen, json=json)
    if log.state.is_confirmed and not json and goes_on(log):
        show.line(f"decided; what was promised is under way: `starter.py status {order.order_id}` shows it")
    return session.exit_code(log)


def goes_on(log: TransactionLog) -> bool:
    """Whether a confirmed order is not complete yet: calls are open, or those after the pivot have not begun."""
    is_open = any(entry.ended_at is None for entry in log.steps)
    return is_open or any(entry.kind is CallKind.PIVOT for entry in log.steps[-1:])


def _workflow_of(order: Order, mode: Mode) -> str:
    """The workflow that decides about the order."""
    return participant_id(order.order_id) if mode is Mode.CHOREOGRAPHY else order.transaction_id


def status(
    order_id: str,
    watch: Annotated[bool, typer.Option("--watch", help="Show it as it changes, until it ends.")] = False,
    json: Json = False,
) -> int:
    """The transaction log of one order, or of a transaction given as data, during and after."""
    once = partial(session.run, lambda client: Observer(client, order_id).look())
    seen = follow.watch(order_id, json=json) if watch else once()
    show.look(seen, json=json)
    return session.exit_code(seen.status.log)


def cancel(
    order_id: str, reason: Annotated[str, typer.Option(help="Kept in the order's log.")], json: Json = False
) -> int:
    """Ask for an order to be cancelled; refused with CANCEL_REFUSED once its confirmation has been asked for."""
    checked = documents.remark(reason, "--reason")
    log = session.run(lambda client: Orders(client).cancel(order_id, checked))
    answer = CancelAnswer(order_id=order_id, accepted=True, state=log.state)
    show.result(
        answer, lambda told: show.line(f"{order_id}: cancellation accepted, ", show.state(told.state)), json=json
    )
    return Exit.OK


def redo(order_id: str, yes: Yes = False, json: Json = False) -> int:
    """After a restore: bring a closed order or transaction to its end again, through the fence.

    What the services still know is not done twice. A confirmed order is placed again; of a rolled-back one, what is
    held again is given back. An order of a batch or a choreography gets a workflow of its own, in their name. A
    transaction given as data runs again, in its lane if it had one. Asks first if the audit finds nothing wrong.
    """
    if not yes and (question := session.run(lambda client: _about_redo(client, order_id))) is not None:
        session.require_yes(question, yes=yes)
    log = session.run(lambda client: Orders(client).redo(order_id))
    show.outcome(log, json=json)
    return session.exit_code(log)


async def _about_redo(client: Client, order_id: str) -> str | None:
    """What to ask before an order or a transaction runs again; `None` if the audit names it, or `redo` refuses it."""
    from audit.run import audit  # noqa: PLC0415 — SQLAlchemy and the services' tables, where they are needed

    try:
        now = await Orders(client).status(order_id)
    except UnknownOrder:
        return None
    standing = standing_of(now.log)
    if not now.closed or standing is Closed.CLOSED_FROM_OUTSIDE:
        return None
    try:
        report = await audit(client, Settings.read())
    except (Unreachable, SettingsError) as error:
        return f"{order_id} is {standing}, and the audit cannot tell whether that is whole ({error})"
    about = now.coordinator.workflow_id if now.coordinator.kind is Kind.TRANSACTION else order_id_of(order_id)
    if any(violation.subject == about for violation in report.violations):
        return None
    return f"{order_id} is {standing}, and the audit finds nothing wrong with it"
