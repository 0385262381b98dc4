"""An order without an orchestrator: five participants that react to events, seen as one thing."""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError, WorkflowHandle
from temporalio.service import RPCError, RPCStatusCode

from client import handles, updates
from client.engines.engine import WAIT_BEYOND_DEADLINE_S, OrderInput, OrderStatus
from client.errors import DuplicateOrder
from client.standing import is_stuck, log_by_query, told_as_closed, told_as_paused, wait_for_end
from client.updates import request_cancel
from contracts.choreography import PARTICIPANTS, Event, Fact, Participation
from contracts.errors import Code
from contracts.ids import DECIDER, Coordinator, order_workflow_id, participant_id
from contracts.message import same
from contracts.order import Order, OrderOnRecord
from runtime.events import EventBus
from temporal_saga import State, TransactionLog

_CLOSED_PAUSE_S = 1
"""Between looks at an order whose decider was closed from outside: the other participants start it again."""
_MOMENT_S = 2
"""A few workflow tasks on a busy machine."""


class ChoreographyEngine:
    def __init__(self, client: Client) -> None:
        self._client = client

    async def start(self, placed: Order) -> None:
        """Publish that the order was placed. Raises `DuplicateOrder`."""
        decider = participant_id(placed.order_id)
        if await handles.status_of(self._client, decider) is not None:
            await self._require_same(decider, placed)  # before a run that was closed from outside is followed by ours
        elif await handles.status_of(self._client, placed.transaction_id) is not None:
            message = f"{placed.order_id} was placed before, with an orchestrator; `status` shows how it stands"
            raise DuplicateOrder(message)
        await self._publish(placed)
        await self._require_same(decider, placed)

    async def wait(self, placed: Order) -> TransactionLog | None:
        async def end() -> TransactionLog | None:
            while True:
                try:
                    await handles.result_of(self.handle_of(placed.order_id))
                except WorkflowFailureError:  # closed from outside: the other participants start it again
                    await asyncio.sleep(_CLOSED_PAUSE_S)
                except RPCError as error:  # deleted: as above, if any other participant is left
                    if error.status is not RPCStatusCode.NOT_FOUND:
                        raise
                    await asyncio.sleep(_CLOSED_PAUSE_S)
                log = await self._look(placed)
                if log is None or log.state.is_end or is_stuck(log):
                    return log

        return await self._wait(placed, end())

    async def decision(self, placed: Order) -> TransactionLog | None:
        await self.start(placed)
        decider, content = participant_id(placed.order_id), placed.model_dump_json().encode()

        async def decided() -> TransactionLog | None:
            log = await updates.decision(self._client, decider, content, TransactionLog)
            now = await self.status(placed.order_id)
            if log is None or not log.state.is_confirmed or now is None:
                return await self.wait(placed)
            return now.log.as_decided

        return await self._wait(placed, decided())

    async def status(self, order_id: str) -> OrderStatus | None:
        """How all participants of an order stand, as one log."""
        seen = [await self._seen(participant_id(order_id, service)) for service in PARTICIPANTS]
        known = [each for each in seen if each is not None]
        if not known:
            return None
        coordinator = Coordinator.parse(participant_id(order_id))
        steps = sorted((step for each in known for step in each.log.steps), key=lambda step: step.started_at)
        decider = TransactionLog(order_workflow_id(order_id), State.RUNNING)
        if seen[0] is not None and not (len(known) > 1 and _is_of_another(seen[0].log)):
            decider = seen[0].log
        state = State.PARKED if any(each.log.state is State.PARKED for each in known) else decider.state
        errors = [each.log.error for each in known if each.log.error is not None and not state.is_confirmed]
        # A participant that came back after the end knows only that its step was undone; the others know why.
        error = min(errors, key=lambda each: each.code == Code.STEP_UNDONE, default=None)
        log = TransactionLog(order_workflow_id(order_id), state, error, tuple(steps))
        closed = all(each.closed for each in known)
        if closed and not state.is_end:
            log = told_as_closed(log, coordinator.workflow_id)
        return OrderStatus(log, closed, coordinator)

    async def cancel(self, order_id: str, reason: str) -> bool:
        return await request_cancel(self._client, participant_id(order_id), order_id, [reason])

    async def resume(self, placed: OrderOnRecord) -> WorkflowHandle[Any, Participation]:
        """Publish anew that the order was placed: the participants start one another, but not the last one to go."""
        await self._publish(placed.order)
        return self.handle_of(placed.order.order_id)

    def handle_of(self, order_id: str, service: str = DECIDER) -> WorkflowHandle[Any, Participation]:
        return self._client.get_workflow_handle(participant_id(order_id, service), result_type=Participation)

    async def _publish(self, placed: Order) -> None:
        event = Event(transaction_id=placed.transaction_id, fact=Fact.ORDER_PLACED, order=placed)
        await EventBus(self._client).tell(event, DECIDER)

    async def _require_same(self, decider: str, placed: Order) -> None:
        """Raise `DuplicateOrder` if the participant was started with another content; it may be deleted meanwhile."""
        arguments = await handles.started_with(self._client, decider)
        there = OrderInput.of(arguments)
        if arguments and (there is None or not same(there.order, placed)):
            raise DuplicateOrder.of_other_content(placed.order_id)

    async def _wait(self, placed: Order, end: Coroutine[Any, Any, TransactionLog | None]) -> TransactionLog | None:
        seconds = placed.deadline_s + WAIT_BEYOND_DEADLINE_S
        return await wait_for_end(end, partial(self._look, placed), seconds, partial(self._goes_on, placed.order_id))

    async def _goes_on(self, order_id: str) -> bool:
        ids = [participant_id(order_id, service) for service in PARTICIPANTS]
        found = await asyncio.gather(*(handles.describe(self._client, each) for each in ids))
        known = [each for each in found if each is not None]
        return any(each.goes_on for each in known) and not any(each.is_stuck for each in known)

    async def _look(self, placed: Order) -> TransactionLog | None:
        now = await self.status(placed.order_id)
        if now is not None and now.log.state.is_end and not now.closed:
            await self._all_closed(placed.order_id)
            now = await self.status(placed.order_id)
        return None if now is None else now.log

    async def _all_closed(self, order_id: str) -> None:
        """Wait a moment for participants that have made and published all, and only write it down."""
        ends = [handles.result_of(self.handle_of(order_id, service)) for service in PARTICIPANTS]
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.gather(*ends, return_exceptions=True), _MOMENT_S)

    async def _seen(self, participant: str) -> OrderStatus | None:
        found = await handles.describe(self._client, participant)
        if found is None:
            return None
        coordinator = Coordinator.parse(participant)
        if found.status is WorkflowExecutionStatus.COMPLETED:
            handle = self.handle_of(coordinator.name, coordinator.service)
            return OrderStatus((await handle.result()).log, closed=True, coordinator=coordinator)
        log = told_as_paused(await log_by_query(self._client, participant), found)
        if log.error is not None and not log.steps:  # the participant cannot answer
            log = replace(log, error=replace(log.error, message=f"{participant}: {log.error.message}"))
        return OrderStatus(log, not found.is_open, coordinator)


def _is_of_another(log: TransactionLog) -> bool:
    """Whether a participant was started by another order of this id, and refused; ours will be started again."""
    return log.state.is_end and log.error is not None and log.error.code == Code.IDEMPOTENCY_CONFLICT
