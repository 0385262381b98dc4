"""`transaction`: runs a transaction given as data, in its turn if it enters a lane."""

from __future__ import annotations

import asyncio
import json as jsonlib
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from pydantic import TypeAdapter, ValidationError
from temporalio.client import (
    Client,
    WorkflowQueryFailedError,
    WorkflowQueryRejectedError,
)
from temporalio.common import QueryRejectCondition, WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from cli import documents, placing, session, show
from cli.session import Json
from client import handles, silence, standing
from client.handles import WorkflowPaused
from contracts.errors import Code
from contracts.lane import GLOBAL, LaneEntry, LaneState, lane_id
from contracts.message import Id
from contracts.order import WORKFLOWS_QUEUE
from contracts.problems import first_problem
from contracts.transaction import MAX_DOCUMENT_BYTES, Transaction, workflow_id
from runtime.commandline import CommandFailed, Exit
from runtime.connection import CLOSED_FROM_OUTSIDE
from runtime.reading import name_of
from saga import Failure, State, TransactionLog
from workflows.lane import LaneWorkflow
from workflows.transaction import TransactionWorkflow

_WAIT_IN_LINE_S = 600
"""For its turn. The place in the line is kept; the same command again goes on waiting."""
_WAIT_BEYOND_STEPS_S = 60
"""Past the timeouts of all steps and rollbacks a transaction is parked, and somebody is told."""
_LOOK_EVERY_S = 0.25
"""Whether it is our turn: often against the wait, seldom against the second that a short line takes."""
_LOOKS_BETWEEN_QUESTIONS = 8
"""The lane itself is asked every two seconds: an answer costs its worker something."""
_KEY: TypeAdapter[str] = TypeAdapter(Id)


def transaction(
    file: Annotated[str, typer.Argument(help="A transaction document in JSON, or - for stdin.")],
    lane: Annotated[str, typer.Option(help="The lane it takes its turn in: one of a lane runs at a time.")] = GLOBAL,
    concurrent: Annotated[bool, typer.Option("--concurrent", help="In no lane: at once, beside any other.")] = False,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Do not wait for the transaction's end.")] = False,
    json: Json = False,
) -> int:
    """Run a transaction: a list of steps, each with its commit and its rollback."""
    asked = documents.read_document(file, Transaction, Code.INVALID_TRANSACTION, MAX_DOCUMENT_BYTES)
    if (problem := asked.disagreement()) is not None:
        raise CommandFailed(Code.INVALID_TRANSACTION, f"{name_of(file)}: {problem}", Exit.INVALID)
    try:
        key = _KEY.validate_python(lane)
    except ValidationError as error:
        raise CommandFailed(Code.USAGE, f"--lane {lane[:80]}: {first_problem(error)}", Exit.INVALID) from error
    return session.run(_transaction, asked, None if concurrent else key, no_wait=no_wait, json=json)


async def _transaction(asked: Transaction, lane: str | None, *, no_wait: bool, json: bool) -> int:
    client = await session.connect()
    if lane is None:
        await start(client, asked)
    else:
        await enter(client, asked, lane)
        if not await _has_begun(client, asked):
            if no_wait:
                await ask(client, asked, lane)  # an entry is only a signal: a full lane says no afterwards
            elif (waiting := await _wait_for_turn(client, asked, lane)) is not None:
                return _show(waiting, json=json, code=Exit.NOT_ENDED)
    handle = placing.handle_under(client, asked.workflow_id)
    if not no_wait:
        seconds = 2 * sum(step.timeout_s for step in asked.steps) + _WAIT_BEYOND_STEPS_S
        log = await placing.wait_for(client, handle, seconds)
        return _show(log, json=json, code=placing.exit_code(log))
    begun = await _has_begun(client, asked)
    log = (
        await standing.look(client, asked.workflow_id) if begun else TransactionLog(asked.transaction_id, State.RUNNING)
    )
    return _show(log, json=json, code=Exit.OK)


async def start(client: Client, asked: Transaction) -> None:
    """Start the transaction now, in no lane, or find the one that is there if it is of the same content."""
    resumed = await _was_cut_off(client, asked)
    again, once = WorkflowIDReusePolicy.ALLOW_DUPLICATE, WorkflowIDReusePolicy.REJECT_DUPLICATE
    try:
        await client.start_workflow(
            TransactionWorkflow.run,
            args=[_document(asked), resumed],
            id=asked.workflow_id,
            task_queue=WORKFLOWS_QUEUE,
            id_reuse_policy=again if resumed else once,
            id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
        )
    except WorkflowAlreadyStartedError:
        await _check_same(client, asked)


async def enter(client: Client, asked: Transaction, lane: str) -> None:
    """Take a place at the end of the lane, unless the transaction has begun before. Raises `CommandFailed`."""
    if await _has_begun(client, asked):
        return
    document = _document(asked)
    entry = LaneEntry(
        transaction_id=asked.transaction_id,
        document=document,
        size=len(jsonlib.dumps(document)),
        resumed=await _was_cut_off(client, asked),
    )
    await client.start_workflow(
        LaneWorkflow.run,
        LaneState(),
        id=lane_id(lane),
        task_queue=WORKFLOWS_QUEUE,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        start_signal="enter",
        start_signal_args=[entry],
    )


async def _wait_for_turn(client: Client, asked: Transaction, lane: str) -> TransactionLog | None:
    """Wait until the transaction has begun; else how it waits, when it will not begin soon."""
    told: int | None = None
    for look in range(int(_WAIT_IN_LINE_S / _LOOK_EVERY_S)):
        if await _has_begun(client, asked):
            return None
        if look % _LOOKS_BETWEEN_QUESTIONS == _LOOKS_BETWEEN_QUESTIONS - 1:
            place = await ask(client, asked, lane)
            if place.ahead is not None and place.ahead != told:
                show.remark(f"{place.ahead} ahead in lane {lane}")
                told = place.ahead
            if place.behind is not None and await _is_parked(client, place.behind):
                message = f"waits in lane {lane} behind {place.behind}, which is parked; see `starter.py desk list`"
                return TransactionLog(asked.transaction_id, State.RUNNING, Failure(Code.LANE_HELD, message))
            if place.lost:
                await enter(client, asked, lane)
        await asyncio.sleep(_LOOK_EVERY_S)
    message = f"still waits in lane {lane}, {told or 'some'} ahead; the same command again goes on waiting"
    return TransactionLog(asked.transaction_id, State.RUNNING, Failure(Code.LANE_HELD, message))


@dataclass(frozen=True)
class Place:
    """Where a transaction waits in its lane: how many are `ahead`, and `behind` whom. Nothing if nobody can say now.

    `lost`: it neither waits nor runs there. It has ended meanwhile, or the lane was closed from outside.
    """

    ahead: int | None = None
    behind: str | None = None
    lost: bool = False


async def ask(client: Client, asked: Transaction, lane: str) -> Place:
    """Ask the lane. Raises `CommandFailed` with LANE_FULL if it has refused the transaction, with PAUSED if it is."""
    handle = client.get_workflow_handle_for(LaneWorkflow.run, lane_id(lane))
    name, is_open = asked.transaction_id, QueryRejectCondition.NOT_OPEN
    try:
        view = await handles.query(client, handle, LaneWorkflow.waiting, reject_condition=is_open)
        ahead = await handles.query(client, handle, LaneWorkflow.ahead_of, name, reject_condition=is_open)
    except WorkflowPaused as paused:
        message = f"waits in lane {lane}: {silence.paused(paused.described).message}"
        raise CommandFailed(Code.PAUSED, message, Exit.NOT_ENDED) from paused
    except WorkflowQueryRejectedError:  # it is closed, and would have answered as it was
        return Place(lost=True)
    except WorkflowQueryFailedError:
        return Place()
    except RPCError as error:  # without a worker the place is kept: to enter again would only fill the lane's history
        return Place(lost=error.status is RPCStatusCode.NOT_FOUND)
    holder = None if view.holder is None else view.holder.transaction_id
    if ahead is not None:
        return Place(ahead, holder)
    if holder != name and name in view.refused:
        message = f"lane {lane} is full ({view.count} wait); try again later"
        raise CommandFailed(Code.LANE_FULL, message, Exit.NOT_ENDED)
    return Place(lost=holder != name)


async def _is_parked(client: Client, transaction_id: str) -> bool:
    try:
        return (await standing.look(client, workflow_id(transaction_id))).state is State.PARKED
    except RPCError:
        return False  # it has ended, or Temporal has trouble: the next look tells


async def _has_begun(client: Client, asked: Transaction) -> bool:
    """Whether its workflow runs or has come to an end. Raises `CommandFailed` if that is of another content."""
    status = await handles.status_of(client, asked.workflow_id)
    if status is None or status in CLOSED_FROM_OUTSIDE:
        return False
    await _check_same(client, asked)
    return True


async def _was_cut_off(client: Client, asked: Transaction) -> bool:
    if await handles.status_of(client, asked.workflow_id) not in CLOSED_FROM_OUTSIDE:
        return False
    await _check_same(client, asked)
    return True


async def _check_same(client: Client, asked: Transaction) -> None:
    begun_with = await handles.first_arguments(client, asked.workflow_id)
    try:
        same = Transaction.model_validate(next(iter(begun_with), None)) == asked
    except ValidationError:
        same = False
    if not same:
        message = f"{asked.transaction_id} was submitted before with another content; choose another id"
        raise CommandFailed(Code.DUPLICATE_TRANSACTION, message, Exit.INVALID)


def _document(asked: Transaction) -> dict[str, Any]:
    return asked.model_dump(mode="json", exclude_defaults=True)


def _show(log: TransactionLog, *, json: bool, code: Exit) -> int:
    outcome = show.Outcome.of(log)
    show.document(outcome) if json else show.outcome(outcome)
    return code
