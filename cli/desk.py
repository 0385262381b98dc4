"""`desk`: calls that do not get through, across all orders, and what to do about them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Any

import typer
from pydantic import BaseModel, ValidationError
from temporalio.client import Client, WorkflowQueryFailedError, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from cli import choreographed, documents, placing, session, show
from cli.session import Json
from client import handles, silence
from client.handles import WorkflowPaused
from contracts.catalogue import OPERATIONS
from contracts.choreography import PARTICIPANT_WORKFLOW, order_id_of
from contracts.errors import Code
from contracts.message import as_written
from contracts.order import transaction_id
from contracts.problems import first_problem
from runtime.commandline import CommandFailed, Exit
from saga import CallKind, DeskRecord, Failure, Fix, Parked, Skip
from workflows.order import OrderWorkflow

desk = typer.Typer(help="Calls that do not get through: see them, retry, skip or fix them.")

_RETRY, _SKIP, _FIX = "desk_retry", "desk_skip", "desk_fix"
"""The updates of `SagaWorkflow`."""
Step = Annotated[str, typer.Argument(help="As `desk list` names it, such as payment.cancel.")]
Actor = Annotated[str, typer.Option(help="Who decides; kept in the order's log.")]
RequestId = Annotated[str | None, typer.Option(help="A decision sent twice under one id is taken once.")]


class ParkedCall(BaseModel):
    """`transaction_id` is the id of the workflow; `order_id`, what people call it by."""

    order_id: str
    transaction_id: str
    step: str
    kind: CallKind
    since: datetime
    attempts: int
    next_attempt_at: datetime
    error: Failure
    trying_since: datetime | None
    """Since when a round of attempts runs; unset between two rounds."""


class DeskAnswer(BaseModel):
    accepted: int


@desk.command("list")
def list_(json: Json = False) -> int:
    """Every parked call, with its age, attempts, last error and next attempt; exit code 3 if a saga cannot say."""
    return session.run(_list, json=json)


async def _list(*, json: bool) -> int:
    silent: list[str] = []
    client = await session.connect()
    calls = [call async for call in _parked(client, silent)]
    async for workflow_id, paused in silence.all_paused(client):
        if workflow_id not in silent:
            _remark(workflow_id, paused)
    code = Exit.UNREACHABLE if silent else Exit.OK
    if json:
        show.document([call.model_dump(mode="json", exclude={"error": {"step"}}) for call in calls])
        return code
    rows = [
        (c.order_id, c.step, c.kind, f"{c.since:%m-%d %H:%M:%S}", c.attempts, _next(c),
         f"{c.error.code}: {c.error.message}")
        for c in calls
    ]  # fmt: skip
    columns = ["order", "step", "kind", "since (UTC)", "attempts", "next attempt (UTC)", "error"]
    show.table(f"{len(calls)} parked calls", columns, rows)
    return code


def _next(call: ParkedCall) -> str:
    if call.trying_since is not None:
        return f"being tried since {call.trying_since:%H:%M:%S}"
    return f"{call.next_attempt_at:%m-%d %H:%M:%S}"


@desk.command(name="show")
def show_(order_id: str, step: Step, json: Json = False) -> int:
    """One call of the desk: the request as it was and as it is, and all decisions; also when it is settled."""
    return session.run(_show, order_id, step, json=json)


async def _show(order_id: str, step: str, *, json: bool) -> int:
    client = await session.connect()
    try:
        handle = await choreographed.where_parked(client, order_id, service=_service(step))
    except CommandFailed:  # where_parked looks for participants that run
        handle = choreographed.handle_of(client, order_id.removeprefix(transaction_id("")), _service(step))
        if await handles.status_of(client, handle.id) is None:
            raise
    try:
        found: DeskRecord | None = await handles.query(client, handle, OrderWorkflow.desk_record, step)
    except (WorkflowPaused, WorkflowQueryFailedError, RPCError) as error:
        why = await silence.why_silent(client, handle.id, error)
        raise CommandFailed(why.code, f"{handle.id}: {why.message}", Exit.UNREACHABLE) from error
    if found is None:
        raise CommandFailed(Code.DESK_REFUSED, f"{order_id}: {step} was never parked", Exit.INVALID)
    show.document(found) if json else show.desk_record(found)
    return Exit.OK


@desk.command()
def retry(
    order_id: Annotated[str | None, typer.Argument()] = None,
    step: Annotated[str | None, typer.Argument(help="As `desk list` names it, such as payment.cancel.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="Every parked call, in place of ID and STEP.")] = False,
    code: Annotated[str | None, typer.Option(help="With --all: only those parked with this code.")] = None,
    request_id: RequestId = None,
    json: Json = False,
) -> int:
    """Try a parked call again now, or all of them; exit code 3 if a saga cannot say what is parked."""
    if all_ == (order_id is not None and step is not None) or (code is not None and not all_):
        raise CommandFailed(Code.USAGE, "desk retry takes ID STEP, or --all [--code X]", Exit.INVALID)
    if all_:
        return session.run(_retry_all, code, json=json)
    return session.run(_decide, order_id or "", _RETRY, [step], request_id, json=json)


async def _retry_all(code: str | None, *, json: bool) -> int:
    client = await session.connect()
    retried, asked = 0, 0
    silent: list[str] = []
    async for call in _parked(client, silent):
        if code not in (None, call.error.code):
            continue
        try:
            await _update(client, call.transaction_id, _RETRY, [call.step], None)
            retried += 1
        except CommandFailed as failed:
            if failed.code == Code.ASKED:
                show.remark(failed.message)
                asked += 1
            elif failed.code not in (Code.DESK_REFUSED, Code.UNKNOWN_ORDER):  # settled, or decided, in the meantime
                raise
    _accepted(retried, json=json)
    if silent:
        return Exit.UNREACHABLE
    return Exit.NOT_ENDED if asked else Exit.OK


@desk.command()
def skip(
    order_id: str,
    step: Step,
    reason: Annotated[str, typer.Option(help="Kept in the order's log.")],
    actor: Actor,
    request_id: RequestId = None,
    json: Json = False,
) -> int:
    """Leave a parked call undone, because somebody has seen to it; the order says so for ever."""
    arguments = [step, Skip(actor=documents.remark(actor, "--actor"), reason=documents.remark(reason, "--reason"))]
    return session.run(_decide, order_id, _SKIP, arguments, request_id, json=json)


@desk.command()
def fix(
    order_id: str,
    step: Step,
    input: Annotated[str, typer.Option(help="A JSON file with the call's new request, or - for stdin.")],  # noqa: A002 — the option's name
    actor: Actor,
    request_id: RequestId = None,
    json: Json = False,
) -> int:
    """Try a parked call again with another request."""
    request = documents.read_json(input, Code.INVALID_REQUEST)
    _check_request(step, request, where=input)
    arguments = [step, Fix(actor=documents.remark(actor, "--actor"), request=request)]
    return session.run(_decide, order_id, _FIX, arguments, request_id, json=json)


def _check_request(step: str, request: Any, *, where: str) -> None:
    """Raise `CommandFailed` unless `request` is one for the operation behind `step`, where that is in the catalogue.

    The workflow checks it too, and that it is about the same transaction.
    """
    operation = OPERATIONS.get(step.partition("#")[0])
    if operation is None:
        return
    try:
        as_written(operation.request, request)
    except ValidationError as error:
        message = f"--input {where}: not a request for {operation.name}: {first_problem(error)}"
        raise CommandFailed(Code.INVALID_REQUEST, message, Exit.INVALID) from error


async def _decide(order_id: str, update: str, arguments: list[Any], request_id: str | None, *, json: bool) -> int:
    await _update(await session.connect(), order_id, update, arguments, request_id)
    return _accepted(1, json=json)


def _service(step: str) -> str:
    return step.partition(".")[0]


def _accepted(count: int, *, json: bool) -> int:
    show.document(DeskAnswer(accepted=count)) if json else show.line(f"{count} decisions accepted")
    return Exit.OK


async def _update(client: Client, order_id: str, update: str, arguments: list[Any], request_id: str | None) -> None:
    try:
        handle = await choreographed.where_parked(client, order_id, service=_service(arguments[0]))
        await placing.update(client, handle, update, arguments, request_id)
    except WorkflowUpdateFailedError as error:
        if isinstance(error.cause, ApplicationError):
            raise CommandFailed(Code.DESK_REFUSED, f"{order_id}: {error.cause.message}", Exit.INVALID) from error
        raise
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            message = f"there is no order or transaction {order_id[:80]} under way"
            raise CommandFailed(Code.UNKNOWN_ORDER, message, Exit.INVALID) from error
        raise


def _remark(workflow_id: str, why: Failure) -> None:
    show.remark(f"{workflow_id}: {why.message}")


async def _parked(client: Client, silent: list[str]) -> AsyncIterator[ParkedCall]:
    """The parked calls of whoever answers; `silent` gets the names of the others."""
    async for found in handles.listed(client, f"SagaState = 'PARKED' AND {handles.OPEN}"):
        try:
            handle = client.get_workflow_handle(found.id)
            parked: list[Parked] = await handles.query(client, handle, OrderWorkflow.parked)
        except (WorkflowPaused, WorkflowQueryFailedError, RPCError) as error:
            why = await silence.why_silent(client, found.id, error)
            _remark(found.id, why)
            silent.append(found.id)
            continue
        own = found.workflow_type != PARTICIPANT_WORKFLOW
        for call in parked:
            yield ParkedCall(
                order_id=order_id_of(found.id),
                transaction_id=found.id if own else transaction_id(order_id_of(found.id)),
                step=call.step,
                kind=call.kind,
                since=call.since,
                attempts=call.attempts,
                next_attempt_at=call.next_attempt_at,
                error=call.error,
                trying_since=call.trying_since,
            )
