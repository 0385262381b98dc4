"""Orders without an orchestrator: placing them, and seeing the five participants of each as one thing."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from typing import Any

from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError, WorkflowHandle

from cli import placing
from cli.placing import Ended
from client import handles
from client.standing import look, told_as_closed, told_as_paused
from contracts.choreography import PARTICIPANTS, Event, Fact, Participation, participant_id
from contracts.errors import Code
from contracts.message import same
from contracts.order import Order, transaction_id
from lanes.outcome import result_of
from runtime.commandline import CommandFailed, Exit
from runtime.events import EventBus
from saga import State, TransactionLog

_CLOSED_PAUSE_S = 1
"""Between looks at an order whose own participant was closed from outside: the others start it again."""
_MOMENT_S = 2
"""A few workflow tasks on a busy machine."""


def handle_of(client: Client, order_id: str, service: str) -> WorkflowHandle[Any, Participation]:
    return client.get_workflow_handle(participant_id(order_id, service), result_type=Participation)


async def start(client: Client, order: Order) -> None:
    """Make it known that the order was placed. Raises `CommandFailed` with DUPLICATE_ORDER, as `placing.start` does."""
    decider = participant_id(order.order_id, "order")
    if await handles.status_of(client, decider) is not None:
        await _require_same(client, decider, order)  # before a run that was closed from outside is followed by ours
    elif await handles.status_of(client, order.transaction_id) is not None:
        message = f"{order.order_id} was placed before, with an orchestrator; `status` shows how it stands"
        raise CommandFailed(Code.DUPLICATE_ORDER, message, Exit.INVALID)
    placed = Event(transaction_id=order.transaction_id, fact=Fact.ORDER_PLACED, order=order)
    await EventBus(client).tell(placed, "order")
    await _require_same(client, decider, order)


async def _require_same(client: Client, decider: str, order: Order) -> None:
    if not same(await placing.placed_before(client, decider), order):
        raise placing.duplicate(order.order_id)


async def wait(client: Client, order: Order) -> TransactionLog:
    """The order's end, or how it stands when a call is parked or the order is overdue."""
    handle = handle_of(client, order.order_id, "order")
    loop = asyncio.get_running_loop()
    overdue = loop.time() + order.deadline_s + placing.WAIT_BEYOND_DEADLINE_S
    while True:
        try:
            await asyncio.wait_for(result_of(handle), min(placing.LOOK_EVERY_S, max(0.1, overdue - loop.time())))
        except TimeoutError:
            pass  # it is under way, and time to look how it stands
        except WorkflowFailureError:
            await asyncio.sleep(_CLOSED_PAUSE_S)
        now = await status(client, order.order_id)
        if now.log.state.is_end and not now.closed:
            await _all_closed(client, order.order_id)
            now = await status(client, order.order_id)
        stands_still = now.log.state is State.PARKED or placing.is_paused(now.log)
        if now.log.state.is_end or stands_still or loop.time() > overdue:
            return now.log


async def _all_closed(client: Client, order_id: str) -> None:
    """The others have done and said all, and only write it down: worth a moment."""
    ends = [result_of(handle_of(client, order_id, service)) for service in PARTICIPANTS]
    with suppress(TimeoutError):
        await asyncio.wait_for(asyncio.gather(*ends, return_exceptions=True), _MOMENT_S)


async def status(client: Client, order_id: str) -> Ended:
    """How all participants of an order stand, as one log. Raises `CommandFailed` with UNKNOWN_ORDER."""
    seen = [await _seen(client, participant_id(order_id, service)) for service in PARTICIPANTS]
    known = [ended for ended in seen if ended is not None]
    if not known:
        raise CommandFailed(Code.UNKNOWN_ORDER, f"there is no order {order_id[:80]}", Exit.INVALID)
    steps = sorted((step for ended in known for step in ended.log.steps), key=lambda step: step.started_at)
    decider = TransactionLog(transaction_id(order_id), State.RUNNING)
    if seen[0] is not None and not (len(known) > 1 and _is_of_another(seen[0].log)):
        decider = seen[0].log
    state = State.PARKED if any(ended.log.state is State.PARKED for ended in known) else decider.state
    errors = [ended.log.error for ended in known if ended.log.error is not None and not state.is_confirmed]
    # One that came back after the end knows only that its step was undone; the others know why.
    error = min(errors, key=lambda each: each.code == Code.STEP_UNDONE, default=None)
    log = TransactionLog(transaction_id(order_id), state, error, tuple(steps))
    closed, coordinator = all(ended.closed for ended in known), participant_id(order_id, "order")
    return Ended(
        told_as_closed(log, coordinator) if closed and not state.is_end else log, closed=closed, coordinator=coordinator
    )


def _is_of_another(log: TransactionLog) -> bool:
    """One that was placed under the same id, and refused: the others bring the participant of theirs back."""
    return log.state.is_end and log.error is not None and log.error.code == Code.IDEMPOTENCY_CONFLICT


async def where_parked(client: Client, known_as: str, *, service: str) -> WorkflowHandle[Any, Any]:
    """The workflow whose desk has a call of `service`: the service's participant, or the order's or transaction's own.

    Raises `CommandFailed` with UNKNOWN_ORDER, and PAUSED: a paused workflow takes no decision.
    """
    participant = participant_id(known_as.removeprefix(transaction_id("")), service)
    found = await handles.describe(client, participant)
    if found is None or not found.is_open:
        found = await placing.find(client, known_as)
    await placing.require_not_paused(client, found.id)
    return client.get_workflow_handle(found.id)


async def _seen(client: Client, participant: str) -> Ended | None:
    found = await handles.describe(client, participant)
    if found is None:
        return None
    if found.status is WorkflowExecutionStatus.COMPLETED:
        participation = await client.get_workflow_handle(participant, result_type=Participation).result()
        return Ended(participation.log, closed=True)
    log = told_as_paused(await look(client, participant), found)
    if log.error is not None and not log.steps:  # nobody answers for it
        log = replace(log, error=replace(log.error, message=f"{participant}: {log.error.message}"))
    return Ended(log, closed=not found.is_open)
