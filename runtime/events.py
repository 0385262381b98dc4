"""The delivery of events: each is a signal to every participant that subscribes to it, sent at least once.

The signal has the name of the event's fact, so the Web UI shows what a participant has heard.

The signal starts the participant if it does not run, also after it was terminated or has failed: the event contains
the order, and the fence knows which calls were made. (A participant fails for an order of another content under the
same id.) A completed participant has no call left to make. It is not started again; the publisher gets the events that
it had published instead.
"""

from collections.abc import Callable
from typing import Any

from pydantic import ValidationError
from temporalio import activity
from temporalio.client import Client
from temporalio.common import SearchAttributePair, TypedSearchAttributes, WorkflowIDReusePolicy
from temporalio.exceptions import ApplicationError, WorkflowAlreadyStartedError

from contracts.choreography import (
    PUBLISHING,
    Event,
    Participation,
    Publish,
    Published,
)
from contracts.errors import Code
from contracts.ids import PARTICIPANT_WORKFLOW, participant_id
from contracts.problems import first_problem
from runtime import summaries
from temporal_saga.visibility import SAGA_ORDER

_OTHERS = "The part of one service in a choreographed order. `SagaOrder = '{}'` lists the other parts."


class EventBus:
    def __init__(self, client: Client) -> None:
        self._client = client

    async def tell(self, event: Event, service: str) -> tuple[Event, ...]:
        """Signal the participant of `service`. Return the events that it had published, if it has completed."""
        order = event.order
        workflow_id = participant_id(order.order_id, service)
        try:
            await self._client.start_workflow(
                PARTICIPANT_WORKFLOW,
                order.model_dump(mode="json"),
                id=workflow_id,
                task_queue=service,
                start_signal=event.fact,
                start_signal_args=[event.model_dump(mode="json")],
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY,  # which includes terminated
                search_attributes=TypedSearchAttributes([SearchAttributePair(SAGA_ORDER, order.order_id)]),
                **summaries.of_order(self._client, order, f"{service}'s part", _OTHERS.format(order.order_id)),
            )
        except WorkflowAlreadyStartedError:
            participation: Participation = await self._client.get_workflow_handle(
                workflow_id, result_type=Participation
            ).result()
            return participation.published
        return ()

    def activities(self, service: str) -> list[Callable[..., Any]]:
        """The activities that publish the events of `service`, for its worker."""
        return [self._activity(operation.name) for operation in PUBLISHING.values() if operation.queue == service]

    def _activity(self, name: str) -> Callable[..., Any]:
        @activity.defn(name=name)
        async def publish(document: Any) -> Published:
            try:
                request = Publish.model_validate(document)
            except ValidationError as error:
                message = f"{name}: {first_problem(error)}"
                raise ApplicationError(message, type=Code.INVALID_REQUEST, non_retryable=True) from None
            final_events: list[Event] = []
            for service in request.to:
                final_events += await self.tell(request.event, service)
            return Published(final_events=tuple(final_events), attempt=activity.info().attempt)

        return publish
