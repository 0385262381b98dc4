"""Statuses that the SDK does not know, and what a description tells of a saga without a query."""

import asyncio
from typing import Any, cast

import pytest
from temporalio.api.common.v1 import SearchAttributes
from temporalio.api.enums.v1 import WorkflowExecutionStatus as RawStatus
from temporalio.api.workflow.v1 import PendingActivityInfo, PendingWorkflowTaskInfo, WorkflowExecutionInfo
from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionRequest, DescribeWorkflowExecutionResponse
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.common import SearchAttributePair, TypedSearchAttributes
from temporalio.converter import encode_search_attributes
from temporalio.service import RPCError, RPCStatusCode

from client import standing
from client.engines.choreography import ChoreographyEngine
from client.engines.engine import wait_for_saga
from client.handles import described_by
from contracts.ids import participant_id
from temporal_saga import State, TransactionLog
from temporal_saga.visibility import SAGA_STATE

KNOWN = {status.value: status for status in WorkflowExecutionStatus}


@pytest.mark.parametrize("number", sorted({*RawStatus.values(), 99} - {0}))
def test_a_status_is_closed_only_if_it_is_known_to_be(number: int) -> None:
    info = WorkflowExecutionInfo(status=RawStatus.ValueType(number))
    found = described_by(DescribeWorkflowExecutionResponse(workflow_execution_info=info))
    closed = number in range(2, 8)
    assert found.is_open is not closed
    assert found.status is (KNOWN[number] if closed else WorkflowExecutionStatus.RUNNING)
    assert found.is_paused is (number == RawStatus.WORKFLOW_EXECUTION_STATUS_PAUSED)


_RUNNING = RawStatus.WORKFLOW_EXECUTION_STATUS_RUNNING
_A_CALL = PendingActivityInfo(attempt=1)
_A_TASK = PendingWorkflowTaskInfo(attempt=1)


def _response(
    status: RawStatus.ValueType = _RUNNING, state: State | None = None, **pending: Any
) -> DescribeWorkflowExecutionResponse:
    attributes = SearchAttributes()
    if state is not None:
        encode_search_attributes(TypedSearchAttributes([SearchAttributePair(SAGA_STATE, str(state))]), attributes)
    info = WorkflowExecutionInfo(status=status, search_attributes=attributes)
    return DescribeWorkflowExecutionResponse(workflow_execution_info=info, **pending)


@pytest.mark.parametrize(
    ("response", "goes_on"),
    [
        (_response(pending_activities=[_A_CALL]), True),
        (_response(pending_workflow_task=_A_TASK), True),
        (_response(state=State.COMPENSATING, pending_activities=[_A_CALL]), True),
        (_response(), False),
        (_response(state=State.PARKED, pending_activities=[_A_CALL]), False),
        (_response(pending_activities=[PendingActivityInfo(attempt=1, paused=True)]), False),
        (_response(RawStatus.WORKFLOW_EXECUTION_STATUS_PAUSED, pending_activities=[_A_CALL]), False),
        (_response(RawStatus.WORKFLOW_EXECUTION_STATUS_COMPLETED, pending_activities=[_A_CALL]), False),
    ],
    ids=["call", "task", "undo", "nothing", "parked", "paused-call", "paused", "closed"],
)
def test_a_saga_goes_on_while_something_is_pending_and_nothing_is_parked_or_paused(
    response: DescribeWorkflowExecutionResponse, *, goes_on: bool
) -> None:
    assert described_by(response).goes_on is goes_on


class _Participants:
    """A client that knows the participants of one order by their services."""

    namespace = "default"

    def __init__(self, responses: dict[str, DescribeWorkflowExecutionResponse]) -> None:
        self._responses = {participant_id("o-1", service): each for service, each in responses.items()}

    @property
    def workflow_service(self) -> Any:
        return self

    async def describe_workflow_execution(
        self, request: DescribeWorkflowExecutionRequest, **_: Any
    ) -> DescribeWorkflowExecutionResponse:
        found = self._responses.get(request.execution.workflow_id)
        if found is None:
            raise RPCError("no such workflow", RPCStatusCode.NOT_FOUND, b"")
        return found


_CLOSED = _response(RawStatus.WORKFLOW_EXECUTION_STATUS_COMPLETED)
_CALLS = _response(pending_activities=[_A_CALL])


@pytest.mark.parametrize(
    ("participants", "goes_on"),
    [
        ({"order": _response(), "payment": _CALLS, "inventory": _CLOSED}, True),
        ({"order": _response(), "payment": _response()}, False),
        ({"order": _response(), "payment": _response(state=State.PARKED), "shipping": _CALLS}, False),
        ({"order": _CLOSED, "payment": _CLOSED}, False),
        ({}, False),
    ],
    ids=["one calls", "all wait", "one is parked", "all are closed", "all are deleted"],
)
async def test_a_choreographed_order_goes_on_while_one_of_its_participants_does_and_none_is_parked(
    participants: dict[str, DescribeWorkflowExecutionResponse], *, goes_on: bool
) -> None:
    engine = ChoreographyEngine(cast("Client", _Participants(participants)))
    assert await engine._goes_on("o-1") is goes_on


class _Busy:
    """A client and a handle of a saga that ends after some looks. A query, which it does not have, would fail."""

    namespace, id = "default", "order/o-1"
    descriptions = 0

    @property
    def workflow_service(self) -> Any:
        return self

    async def describe_workflow_execution(self, *_: Any, **__: Any) -> DescribeWorkflowExecutionResponse:
        self.descriptions += 1
        return _response(pending_activities=[_A_CALL])

    def get_workflow_handle(self, _: str, **__: Any) -> Any:
        return self

    async def result(self) -> TransactionLog:
        while self.descriptions < 3:
            await asyncio.sleep(0)
        return TransactionLog(self.id, State.CONFIRMED)


async def test_a_client_that_waits_asks_no_worker_while_the_saga_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standing, "FIRST_LOOK_AFTER_S", 0)
    monkeypatch.setattr(standing, "LOOK_EVERY_S", 0)
    log = await wait_for_saga(cast("Client", _Busy()), _Busy.id, 10)
    assert log is not None
    assert log.state is State.CONFIRMED
