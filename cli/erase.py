"""`erase`: replaces the personal data of one customer in every database, and deletes it in Temporal if asked to."""

from typing import Annotated

import typer
from pydantic import TypeAdapter, ValidationError

from cli import documents, session, show
from cli.session import Json
from client.erasure import Eraser, Erasure
from contracts.errors import Code
from contracts.message import Id
from contracts.problems import first_problem
from runtime.commandline import CommandFailed, Exit

_CUSTOMER: TypeAdapter[str] = TypeAdapter(Id)


def erase(
    customer: Annotated[str, typer.Argument(metavar="CUSTOMER", help="The customer's id, such as c-1.")],
    reason: Annotated[str, typer.Option(help="Kept on record; without personal data.")],
    actor: Annotated[str, typer.Option(help="Who asks for it; kept on record.")],
    histories: Annotated[
        bool, typer.Option("--histories", help="Have Temporal delete the workflows of the customer's orders too.")
    ] = False,
    json: Json = False,
) -> int:
    """Replace names, addresses, e-mail addresses and phone numbers of a customer. Amounts, goods and ids stay."""
    why, who = documents.remark(reason, "--reason"), documents.remark(actor, "--actor")
    try:
        customer_id = _CUSTOMER.validate_python(customer)
    except ValidationError as error:
        raise CommandFailed(Code.USAGE, f"CUSTOMER {customer[:80]}: {first_problem(error)}", Exit.INVALID) from error
    erased = session.run(lambda client: Eraser(client).erase(customer_id, who, why, histories=histories))
    show.result(erased, lambda told: _show(told, histories=histories), json=json)
    return Exit.OK


def _show(erased: Erasure, *, histories: bool) -> None:
    transactions = f"{erased.transactions} orders and transactions"
    show.line(f"customer {erased.customer_id}: personal data replaced in {erased.rows} rows of {transactions}")
    if histories:
        show.line(f"{erased.histories} workflow runs are deleted in Temporal")
    for batch in erased.batches:
        show.line(f"{batch}: has orders of other customers, so it stays in Temporal until its retention")
