"""How an order or a transaction stands at a moment, with what its log does not have.

That is the running attempts, when a parked call is tried again, and the steps that are still to come.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from temporalio.client import Client
from temporalio.service import RPCError

from client import handles
from client.engines.engine import OrderStatus
from client.errors import ClientError
from client.handles import PendingCall
from client.orders import Orders
from client.to_come import StepToCome, outline_of, to_come
from contracts.choreography import PARTICIPANTS
from contracts.ids import Coordinator, Kind, participant_id
from contracts.outline import Outline
from runtime.execute import OperationFailed
from temporal_saga import Parked, SagaWorkflow, State, TransactionLog


@dataclass(frozen=True)
class Look:
    """`parked` is by step. `pending` is by operation; a saga whose workflow carries many orders has none."""

    status: OrderStatus
    parked: Mapping[str, Parked] = field(default_factory=dict)
    pending: Mapping[str, PendingCall] = field(default_factory=dict)
    to_come: Sequence[StepToCome] = ()


class Observer:
    """Looks at one order or transaction, as often as it is asked to. `known_as` is as for `Orders`."""

    def __init__(self, client: Client, known_as: str) -> None:
        self._client = client
        self._known_as = known_as
        self._outlines: dict[str, Outline] = {}

    async def look(self) -> Look:
        """Raises as `Orders.status`."""
        status = await Orders(self._client).status(self._known_as)
        if status.closed:
            return Look(status)
        workflows = _workflows_of(status.coordinator)
        pending, parked, steps = await asyncio.gather(
            self._pending(workflows), self._parked(workflows, status), self._to_come(status)
        )
        return Look(status, parked, pending, steps)

    async def beside(self, log: TransactionLog) -> Look:
        """`log`, which the saga has just told, with what it does not have if the saga goes on."""
        plain = Look(OrderStatus(log, closed=True, coordinator=Coordinator.parse(log.transaction_id)))
        if log.state.is_end and all(entry.ended_at is not None for entry in log.steps):
            return plain
        try:
            now = await self.look()
        except (ClientError, RPCError, OperationFailed):  # it is shown without
            return plain
        return replace(now, status=replace(now.status, log=log))

    async def _to_come(self, status: OrderStatus) -> Sequence[StepToCome]:
        coordinator = status.coordinator.workflow_id
        if coordinator not in self._outlines:
            outline = await outline_of(self._client, status)
            if outline is None:
                return ()
            self._outlines[coordinator] = outline
        return to_come(status, self._outlines[coordinator])

    async def _pending(self, workflows: Sequence[str]) -> dict[str, PendingCall]:
        found = await asyncio.gather(*(handles.describe(self._client, each) for each in workflows))
        return {call.operation: call for each in found if each is not None for call in each.pending}

    async def _parked(self, workflows: Sequence[str], status: OrderStatus) -> dict[str, Parked]:
        if status.log.state is not State.PARKED:
            return {}
        answers = await asyncio.gather(*map(self._parked_in, workflows))
        return {call.step: call for each in answers for call in each}

    async def _parked_in(self, workflow_id: str) -> list[Parked]:
        handle = self._client.get_workflow_handle(workflow_id)
        try:
            parked: list[Parked] = await handles.query(self._client, handle, SagaWorkflow.parked)
        except handles.CANNOT_SAY:  # the log says that it is parked
            return []
        return parked


def _workflows_of(coordinator: Coordinator) -> Sequence[str]:
    """The workflows that make the calls of the saga; none for a batch, whose calls are those of hundreds."""
    match coordinator.kind:
        case Kind.PARTICIPANT:
            return [participant_id(coordinator.name, service) for service in PARTICIPANTS]
        case Kind.BATCH:
            return []
        case _:
            return [coordinator.workflow_id]
