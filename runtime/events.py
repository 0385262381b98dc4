"""How events travel: as signals to the participants that hear them, at least once each.

A signal starts its participant where there is none, and starts it again where it was closed from outside: the event
carries the order, and the fence knows what was done. So it does where it failed, as it does for an order of another
content under the same id. A participant that has completed has done its part for good; it is not started again, and
what it said is handed to whoever had something to say to it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import ValidationError
from temporalio import activity
from temporalio.client import Client
from temporalio.common import SearchAttributePair, TypedSearchAttributes, WorkflowIDReusePolicy
from temporalio.exceptions import ApplicationError, WorkflowAlreadyStartedError

from contracts.choreography import PUBLISHING, Event, Participation, Publish, Published
from contracts.errors import Code
from contracts.ids import PARTICIPANT_WORKFLOW, participant_id
from contracts.problems import first_problem
from saga.journal import SAGA_ORDER


class EventBus:
    def __init__(self, client: Client) -> None:
        self._client = client

    async def tell(self, event: Event, service: str) -> tuple[Event, ...]:
        """Signal one subscriber; the answer is what it has said, if it has ended."""
        order = event.order
        workflow_id = participant_id(order.order_id, service)
        try:
            await self._client.start_workflow(
                PARTICIPANT_WORKFLOW,
                order.model_dump(mode="json"),
                id=workflow_id,
                task_queue=service,
                start_signal="hear",
                start_signal_args=[event.model_dump(mode="json")],
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY,  # which includes terminated
                search_attributes=TypedSearchAttributes([SearchAttributePair(SAGA_ORDER, order.order_id)]),
            )
        except WorkflowAlreadyStartedError:
            participation: Participation = await self._client.get_workflow_handle(
                workflow_id, result_type=Participation
            ).result()
            return participation.said
        return ()

    def activities(self, service: str) -> list[Callable[..., Any]]:
        """What the worker of `service` needs to publish what it says."""
        return [self._activity(operation.name) for operation in PUBLISHING.values() if operation.queue == service]

    def _activity(self, name: str) -> Callable[..., Any]:
        @activity.defn(name=name)
        async def publish(document: Any) -> Published:
            try:
                request = Publish.model_validate(document)
            except ValidationError as error:
                message = f"{name}: {first_problem(error)}"
                raise ApplicationError(message, type=Code.INVALID_REQUEST, non_retryable=True) from None
            last_words: list[Event] = []
            for service in request.to:
                last_words += await self.tell(request.event, service)
            return Published(last_words=tuple(last_words), attempt=activity.info().attempt)

        return publish
