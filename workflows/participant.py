"""The workflow of one participant: what it may be asked from outside, around the part that it plays."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from pydantic import ValidationError
from temporalio import workflow
from temporalio.exceptions import ApplicationError

from contracts.choreography import PARTICIPANTS, Event, Participation
from contracts.errors import Code
from contracts.ids import participant_id
from contracts.order import Order
from contracts.problems import first_problem
from saga import CancelRefused, SagaWorkflow
from workflows.choreography import Participant
from workflows.order import check_order_of


@workflow.defn
class ParticipantWorkflow(SagaWorkflow):
    """Completes when its service's part is at an end, whichever end: closed in any other way, it is started again.

    Fails with what the order service said where the order is another's, by content or by coordinator.
    """

    @workflow.init
    def __init__(self, document: Any = None) -> None:
        service, self._order = _valid(document)
        self._participant = Participant(service, self._order)

    @property
    def _shown(self) -> Participant:
        return self._participant

    @workflow.run
    async def run(self, document: Any = None) -> Participation:
        """`document` is an `Order` as JSON, as in every event about it."""
        played = asyncio.create_task(self._participant.play())
        while not played.done():
            with suppress(asyncio.CancelledError):  # Temporal's own cancellation: only the order can be cancelled
                await workflow.wait([played])
            if not played.done() and workflow.cancellation_reason() is not None:
                with suppress(CancelRefused):
                    self._participant.cancel(workflow.cancellation_reason() or "the workflow was cancelled")
        played.result()
        return Participation(log=self._participant.log, said=tuple(self._participant.said))

    def _check_request(self, request: dict[str, Any]) -> None:
        check_order_of(request, self._order)

    @workflow.signal
    def hear(self, document: Any) -> None:
        try:
            self._participant.hear(Event.model_validate(document))
        except (
            ValidationError
        ) as error:  # anybody can send a signal; one that says nothing must not end the participant
            workflow.logger.warning("not an event: %s", first_problem(error))

    @workflow.update
    def cancel_order(self, reason: str) -> None:
        """As of an order with a workflow of its own; only the order's participant takes it."""
        self._participant.cancel(reason)

    @cancel_order.validator
    def _cancel_is_possible(self, reason: str) -> None:
        try:
            self._participant.check_cancellable()
        except CancelRefused as refused:
            raise ApplicationError(str(refused), type=Code.CANCEL_REFUSED, non_retryable=True) from refused


def _valid(document: Any) -> tuple[str, Order]:
    """The service is in the workflow's id: one order, one participant for each service."""
    try:
        placed = Order.model_validate(document)
    except ValidationError as error:  # not the cause: it would write the customer's data into the history
        raise ApplicationError(first_problem(error), type=Code.INVALID_ORDER, non_retryable=True) from None
    for service in PARTICIPANTS:
        if workflow.info().workflow_id == participant_id(placed.order_id, service):
            return service, placed
    message = f"workflow id must be {participant_id(placed.order_id, 'SERVICE')}, of {', '.join(PARTICIPANTS)}"
    raise ApplicationError(message, type=Code.INVALID_ORDER, non_retryable=True)
