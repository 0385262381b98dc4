"""`desk`: calls that do not get through, across all orders, and what to do about them."""

import getpass
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from pydantic import BaseModel, TypeAdapter, ValidationError
from temporalio.client import Client

from cli import documents, session, show
from cli.session import Json
from cli.words import counted, lasted
from client import decisions, silence
from client.decisions import LoggedDecision
from client.desk import OperatorsDesk, ParkedCall
from client.errors import DeskRefused, NotAnswered, UnknownOrder
from contracts.catalogue import OPERATIONS
from contracts.errors import Code
from contracts.message import as_written
from contracts.problems import first_problem
from runtime import web_ui
from runtime.commandline import CommandFailed, Exit
from temporal_saga import Failure, Fix, Retry, Skip
from temporal_saga.journal import operation_of

desk = typer.Typer(help="Calls that do not get through: see them, retry, skip or fix them.")

Step = Annotated[str, typer.Argument(help="As `desk list` names it, such as payment.cancel.")]
Actor = Annotated[str, typer.Option(help="Who decides; kept in the order's log.")]
SomeActor = Annotated[str | None, typer.Option(help="Who decides; default: the login name.")]
SomeReason = Annotated[str | None, typer.Option(help="Why; `desk log` shows it.")]
RequestId = Annotated[str | None, typer.Option(help="A decision sent twice under one id is taken once.")]
_CALL = TypeAdapter(ParkedCall)


class DeskAnswer(BaseModel):
    accepted: int


@desk.command("list")
def list_(json: Json = False) -> int:
    """Every parked call: its cause, age, attempts, next attempt and command; exit code 3 if a saga cannot say."""
    silent: set[str] = set()
    calls, link = session.run(lambda client: _parked(client, silent))
    if json:
        show.document([_CALL.dump_python(call, mode="json", exclude={"error": {"step"}}) for call in calls])
    else:
        _show(calls, link)
    return Exit.UNREACHABLE if silent else Exit.OK


async def _parked(client: Client, silent: set[str]) -> tuple[list[ParkedCall], str | None]:
    """The parked calls, and their page in the Web UI; `silent` gets the names of the workflows that cannot say."""
    operators = OperatorsDesk(client)
    calls = await operators.explained([call async for call in operators.parked(_collected(silent))])
    async for workflow_id, paused in silence.all_paused(client):
        if workflow_id not in silent:
            _remark(workflow_id, paused)
    return calls, await web_ui.parked_link(client)


def _show(calls: list[ParkedCall], link: str | None) -> None:
    """A paragraph for each call: no width of a terminal cuts what is to be copied."""
    show.line(counted(len(calls), "parked call") if calls else "nothing is parked")
    for call in calls:
        show.line(f"{call.order_id} {call.step} ({call.kind})")
        show.line(f"  {call.cause}")
        tries = counted(call.attempts, "attempt")
        show.line(f"  parked for {lasted(datetime.now(UTC) - call.since)}, {tries}, {_next(call)}")
        show.line(f"  {call.command}")
    if link is not None:
        show.line(link)


def _next(call: ParkedCall) -> str:
    if call.trying_since is not None:
        return f"being tried since {call.trying_since:%H:%M:%S} UTC"
    return f"next at {call.next_attempt_at:%m-%d %H:%M:%S} UTC"


@desk.command(name="log")
def log_(
    order_id: Annotated[str | None, typer.Argument(help="Only decisions about this order or transaction.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 20,
    json: Json = False,
) -> int:
    """The decisions about parked calls, newest first: who, when, what and why; also of what has ended.

    Exit code 3 if the order service does not answer: then those that Temporal has forgotten are missing.
    """
    silent: list[Failure] = []
    taken = session.run(lambda client: decisions.decisions(client, order_id, limit, silent.append))
    show.result(taken, _show_log, json=json)
    for why in silent:
        show.remark(f"decisions older than Temporal's retention are missing: {why.message}")
    return Exit.UNREACHABLE if silent else Exit.OK


def _show_log(taken: list[LoggedDecision]) -> None:
    for each in taken:
        why = f": {each.reason}" if each.reason else ""
        by = each.actor or "an operator"
        show.line(f"{each.at:%Y-%m-%d %H:%M:%S}Z {each.order_id} {each.step}: {each.decision} by {by}{why}")
    if not taken:
        show.line("no decisions")


@desk.command(name="show")
def show_(order_id: str, step: Step, json: Json = False) -> int:
    """One call of the desk: the request as it was and as it is, and all decisions; also when it is settled."""
    record = session.run(lambda client: OperatorsDesk(client).record(order_id, step))
    show.result(record, show.desk_record, json=json)
    return Exit.OK


@desk.command()
def retry(
    order_id: Annotated[str | None, typer.Argument()] = None,
    step: Annotated[str | None, typer.Argument(help="As `desk list` names it, such as payment.cancel.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="Every parked call, in place of ID and STEP.")] = False,
    code: Annotated[str | None, typer.Option(help="With --all: only those parked with this code.")] = None,
    actor: SomeActor = None,
    reason: SomeReason = None,
    request_id: RequestId = None,
    json: Json = False,
) -> int:
    """Try a parked call again now, or all of them; exit code 3 if a saga cannot say what is parked."""
    if all_ == (order_id is not None and step is not None) or (code is not None and not all_):
        raise CommandFailed(Code.USAGE, "desk retry takes ID STEP, or --all [--code X]", Exit.INVALID)
    decision = Retry(documents.remark(actor or _login(), "--actor"), _reason(reason))
    if all_:
        retried, exit_code = session.run(lambda client: _retry_all(client, code, decision))
        return _accepted(retried, json=json, code=exit_code)
    session.run(lambda client: OperatorsDesk(client).decide(order_id or "", step or "", decision, request_id))
    return _accepted(1, json=json)


def _login() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # a container may have no user of this number
        return "unknown"


def _reason(given: str | None) -> str | None:
    return None if given is None else documents.remark(given, "--reason")


async def _retry_all(client: Client, code: str | None, decision: Retry) -> tuple[int, Exit]:
    """How many calls are tried again, and the exit code: an answer of some workflows may be missing."""
    retried, asked, operators = 0, 0, OperatorsDesk(client)
    silent: set[str] = set()
    async for call in operators.parked(_collected(silent)):
        if code not in (None, call.error.code):
            continue
        try:
            await operators.decide(call.transaction_id, call.step, decision)
            retried += 1
        except NotAnswered as waits:
            show.remark(waits.message)
            asked += 1
        except (DeskRefused, UnknownOrder):  # settled, or decided, in the meantime
            continue
    if silent:
        return retried, Exit.UNREACHABLE
    return retried, Exit.NOT_ENDED if asked else Exit.OK


@desk.command()
def skip(
    order_id: str,
    step: Step,
    reason: Annotated[str, typer.Option(help="Kept in the order's log.")],
    actor: Actor,
    request_id: RequestId = None,
    json: Json = False,
) -> int:
    """Leave a parked call undone, because an operator has settled it; the order says so for ever."""
    decision = Skip(actor=documents.remark(actor, "--actor"), reason=documents.remark(reason, "--reason"))
    session.run(lambda client: OperatorsDesk(client).decide(order_id, step, decision, request_id))
    return _accepted(1, json=json)


@desk.command()
def fix(
    order_id: str,
    step: Step,
    input: Annotated[str, typer.Option(help="A JSON file with the call's new request, or - for stdin.")],  # noqa: A002 — the option's name
    actor: Actor,
    reason: SomeReason = None,
    request_id: RequestId = None,
    json: Json = False,
) -> int:
    """Try a parked call again with another request."""
    request = documents.read_json(input, Code.INVALID_REQUEST)
    _check_request(step, request, where=input)
    decision = Fix(actor=documents.remark(actor, "--actor"), request=request, reason=_reason(reason))
    session.run(lambda client: OperatorsDesk(client).decide(order_id, step, decision, request_id))
    return _accepted(1, json=json)


def _check_request(step: str, request: Any, *, where: str) -> None:
    """Raise `CommandFailed` unless `request` is one for the operation behind `step`, where that is in the catalogue.

    The workflow checks it too, and that it is about the same transaction.
    """
    operation = OPERATIONS.get(operation_of(step))
    if operation is None:
        return
    try:
        as_written(operation.request, request)
    except ValidationError as error:
        message = f"--input {where}: not a request for {operation.name}: {first_problem(error)}"
        raise CommandFailed(Code.INVALID_REQUEST, message, Exit.INVALID) from error


def _accepted(count: int, *, json: bool, code: Exit = Exit.OK) -> int:
    show.result(
        DeskAnswer(accepted=count), lambda told: show.line(f"{counted(told.accepted, 'decision')} accepted"), json=json
    )
    return code


def _collected(silent: set[str]) -> Callable[[str, Failure], None]:
    """Tell the person why a workflow cannot say what is parked, and keep its name in `silent`."""

    def left_out(workflow_id: str, why: Failure) -> None:
        _remark(workflow_id, why)
        silent.add(workflow_id)

    return left_out


def _remark(workflow_id: str, why: Failure) -> None:
    show.remark(f"{workflow_id}: {why.message}")
