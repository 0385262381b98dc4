"""Calls that do not get through, across all workflows with a saga, and operators' decisions about them."""

from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.client import Client, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from client import handles, silence, updates
from client.errors import DeskRefused, Silent
from client.orders import Orders
from contracts.catalogue import OPERATIONS
from contracts.errors import Code
from contracts.ids import Coordinator, Kind, order_id_of, order_workflow_id, participant_id, transaction_workflow_id
from contracts.remedy import command_for
from runtime.pollers import last_poll
from temporal_saga import DeskRecord, Failure, Fix, Parked, Retry, SagaWorkflow, Skip
from temporal_saga.journal import operation_of

_UPDATES: dict[type, Any] = {Retry: SagaWorkflow.desk_retry, Skip: SagaWorkflow.desk_skip, Fix: SagaWorkflow.desk_fix}


@dataclass(frozen=True, kw_only=True)
class ParkedCall(Parked):
    """A parked call and its saga. `transaction_id` names its workflow; people call it by `order_id`.

    `cause` says in words why the call fails, and `command` what to run when that is repaired.
    """

    order_id: str
    transaction_id: str
    cause: str = ""
    command: str = ""


class OperatorsDesk:
    """`known_as` is an order's id, a transaction's id, or the id of the workflow of either."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def parked(self, silent: Callable[[str, Failure], None]) -> AsyncIterator[ParkedCall]:
        """The parked calls of all workflows that answer; `silent` is told of the others, and why they do not."""
        async for found in handles.listed(self._client, handles.PARKED):
            try:
                handle = self._client.get_workflow_handle(found.id)
                parked: list[Parked] = await handles.query(self._client, handle, SagaWorkflow.parked)
            except handles.CANNOT_SAY as error:
                silent(found.id, await silence.why_silent(self._client, found.id, error))
                continue
            about = Coordinator.parse(found.id)
            for call in parked:
                yield ParkedCall(**vars(call), order_id=about.name, transaction_id=about.transaction_id)

    async def explained(self, calls: Iterable[ParkedCall]) -> list[ParkedCall]:
        """`calls` with their cause and command. Each queue is asked once whether a worker serves it."""
        served: dict[str, bool] = {}
        explained = []
        for call in calls:
            operation = OPERATIONS.get(operation_of(call.step))
            queue = None if operation is None else operation.queue
            if queue is not None and queue not in served:
                last = await last_poll(self._client, queue, TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY)
                served[queue] = last is not None
            cause = f"{call.error.code}: {call.error.message}"
            if queue is not None and not served[queue]:
                cause = f"nobody serves the queue {queue}: start `worker.py --service {queue}`"
            explained.append(replace(call, cause=cause, command=command_for(call.order_id, call)))
        return explained

    async def record(self, known_as: str, step: str) -> DeskRecord:
        """One call of the desk, also when it is settled. Raises `UnknownOrder`, `DeskRefused` and `Silent`."""
        workflow_id = await self._workflow_of(known_as, step, is_open=False)
        try:
            handle = self._client.get_workflow_handle(workflow_id)
            found: DeskRecord | None = await handles.query(self._client, handle, SagaWorkflow.desk_record, step)
        except handles.CANNOT_SAY as error:
            raise Silent(workflow_id, await silence.why_silent(self._client, workflow_id, error)) from error
        if found is None:
            raise DeskRefused(f"{known_as}: {step} was never parked")
        return found

    async def decide(
        self, known_as: str, step: str, decision: Retry | Skip | Fix, request_id: str | None = None
    ) -> None:
        """Have a decision about a parked call taken. Raises `UnknownOrder`, `DeskRefused`, `Paused`, `NotAnswered`."""
        update = _UPDATES[type(decision)]
        try:
            workflow_id = await self._workflow_of(known_as, step)
            await updates.require_not_paused(self._client, workflow_id)
            await updates.update(self._client, workflow_id, update, [step, decision], request_id)
        except WorkflowUpdateFailedError as error:
            if isinstance(error.cause, ApplicationError):
                raise DeskRefused(f"{known_as}: {error.cause.message}") from error
            raise
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                raise await self._nothing_parked(known_as) from error
            raise

    async def _workflow_of(self, known_as: str, step: str, *, is_open: bool = True) -> str:
        """The workflow with the desk of a call: the participant of its service, or the order's or transaction's own.

        A participant that must be `is_open` and is not, has no desk any more: the order may have a workflow of its own.
        Raises `UnknownOrder` and `DeskRefused`.
        """
        participant = participant_id(order_id_of(known_as), step.partition(".")[0])
        found = await handles.describe(self._client, participant)
        if found is not None and found.is_open:
            return participant
        whole = Coordinator.parse(known_as).kind in (Kind.ORDER, Kind.TRANSACTION)
        for workflow_id in [known_as] if whole else [order_workflow_id(known_as), transaction_workflow_id(known_as)]:
            if await handles.status_of(self._client, workflow_id) is not None:
                return workflow_id
        if found is not None and not is_open:
            return participant
        raise await self._nothing_parked(known_as)

    async def _nothing_parked(self, known_as: str) -> DeskRefused:
        """Why no open workflow has a desk for an order or a transaction. Raises as `Orders.status` does."""
        now = await Orders(self._client).status(known_as)
        why = f"it has ended {now.log.state}" if now.has_ended else f"it is under way in {now.coordinator.workflow_id}"
        if now.log.error is not None and now.log.error.code in (Code.CLOSED_FROM_OUTSIDE, Code.FORGOTTEN):
            why = now.log.error.message
        return DeskRefused(f"{known_as}: nothing is parked: {why}")
