"""`transaction`: runs a transaction given as data, in its turn if it enters a lane."""

from typing import Annotated

import typer
from pydantic import TypeAdapter, ValidationError

from cli import documents, follow, session, show
from cli.session import Json
from client.transactions import Transactions
from contracts.errors import Code
from contracts.lane import GLOBAL
from contracts.message import Id
from contracts.problems import first_problem
from contracts.transaction import MAX_DOCUMENT_BYTES, Transaction
from runtime.commandline import CommandFailed, Exit
from runtime.reading import name_of

_KEY: TypeAdapter[str] = TypeAdapter(Id)


def transaction(
    file: Annotated[str, typer.Argument(help="A transaction document in JSON, or - for stdin.")],
    lane: Annotated[
        str | None,
        typer.Option(help=f"The lane it takes its turn in: one of a lane runs at a time. Default: {GLOBAL}."),
    ] = None,
    concurrent: Annotated[bool, typer.Option("--concurrent", help="In no lane: at once, beside any other.")] = False,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Do not wait for the transaction's end.")] = False,
    json: Json = False,
) -> int:
    """Run a transaction: a list of steps, each with its commit and its rollback."""
    if concurrent and lane is not None:
        raise CommandFailed(Code.USAGE, "--concurrent is for no lane, --lane for one: leave one out", Exit.INVALID)
    asked = documents.read_document(file, Transaction, Code.INVALID_TRANSACTION, MAX_DOCUMENT_BYTES)
    if (problem := asked.disagreement()) is not None:
        raise CommandFailed(Code.INVALID_TRANSACTION, f"{name_of(file)}: {problem}", Exit.INVALID)
    try:
        key = None if concurrent else _KEY.validate_python(lane or GLOBAL)
    except ValidationError as error:
        raise CommandFailed(
            Code.USAGE, f"--lane {(lane or GLOBAL)[:80]}: {first_problem(error)}", Exit.INVALID
        ) from error

    def tell(ahead: int) -> None:
        show.remark(f"{ahead} ahead in lane {key}")

    if no_wait:
        log = session.run(lambda client: Transactions(client).run(asked, key, wait=False))
        waits = key is not None and not log.steps and not log.state.is_end
        show.started(log, where=f"waits for its turn in lane {key}" if waits else None, json=json)
        return Exit.OK
    wait = follow.Wait(asked.transaction_id, asked.workflow_id, json=json)
    seen = wait.run(lambda client: Transactions(client).run(asked, key, tell=tell))
    show.look(seen, json=json)
    return session.exit_code(seen.status.log)
