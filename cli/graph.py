"""`graph`: the saga as a picture, drawn from its own plan; with an order or a transaction, the way it took."""

from datetime import timedelta
from enum import StrEnum
from typing import Annotated

import typer
from pydantic import ValidationError
from temporalio.client import Client

from cli import documents, session, show
from cli.mermaid import mermaid
from cli.picture import Picture, picture_of
from cli.session import Json
from cli.svg import svg
from client import handles
from client.orders import Orders
from client.standing import standing_of
from contracts.errors import Code
from contracts.ids import Kind
from contracts.order import Order
from contracts.problems import first_problem
from contracts.transaction import Transaction
from runtime.commandline import CommandFailed, Exit, write
from temporal_saga import Plan, Step, run_in_order


class Format(StrEnum):
    MERMAID = "mermaid"
    SVG = "svg"


_DRAWN = {Format.MERMAID: mermaid, Format.SVG: svg}


def graph(
    order_id: Annotated[str | None, typer.Argument(help="An order or a transaction; default: the plan alone.")] = None,
    format: Annotated[Format, typer.Option(help="How the picture is written.")] = Format.MERMAID,  # noqa: A002 — the option's name
    json: Json = False,
) -> int:
    """The saga as a picture, drawn from its own plan; with an order, the way it took.

    `starter.py graph --format svg > saga.svg` writes a file for a browser. --json prints nodes and edges.
    """
    if order_id is None:
        picture = picture_of(plan_of(sample()))
    else:
        known_as = order_id
        picture = session.run(lambda client: _way(client, known_as))
    show.result(picture, lambda drawn: write(_DRAWN[format](drawn)), json=json)
    return Exit.OK


def plan_of(placed: Order) -> Plan:
    """The plan of the process as it is today."""
    from workflows.order import Requests, planned  # noqa: PLC0415 — the process itself, for this command alone

    return planned(Requests.of(placed))


def sample() -> Order:
    """An order as `place --item` makes it."""
    line = {"sku": "BOOK-1", "quantity": 1, "unit_price_minor": 1299}
    return Order.model_validate(documents.document("o-1", "c-1", [line]))


async def _way(client: Client, known_as: str) -> Picture:
    """The plan of an order or a transaction as its document makes it, with its log. Raises `UnknownOrder`."""
    orders = Orders(client)
    now = await orders.status(known_as)
    if now.coordinator.kind is Kind.TRANSACTION:
        plan = _plan_of_transaction(await handles.document_of(client, now.coordinator.workflow_id))
    else:
        placed = await orders.document_of(known_as, now)
        if placed is None:
            show.remark("its document is lost, so the plan is that of an order whose notification may fail")
        plan = plan_of(placed or sample())
    error = f", {now.log.error.code}" if now.log.error else ""
    return picture_of(plan, now.log, f"{now.log.transaction_id}: {standing_of(now.log)}{error}")


def _plan_of_transaction(document: object) -> Plan:
    try:
        asked = Transaction.model_validate(document)
    except ValidationError as error:
        told = f"this build cannot read its document ({first_problem(error)}); `starter.py status` has its log"
        raise CommandFailed(Code.UNREADABLE, told, Exit.UNREACHABLE) from error
    plan = Plan()
    steps = [
        Step(step.operation, step.undo, None, timedelta(seconds=step.timeout_s), name=step.name) for step in asked.steps
    ]
    plan.follow(run_in_order(plan, steps))
    return plan
