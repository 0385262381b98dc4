"""The SDK has one error for an update whose call timed out and for one that was cancelled: they are told apart."""

import asyncio
from typing import Any, cast

import pytest
from temporalio.client import Client, WorkflowUpdateRPCTimeoutOrCancelledError
from temporalio.service import RPCError, RPCStatusCode

from client import updates
from client.outage import OutageBudget

_TIMED_OUT = RPCError("no answer in time", RPCStatusCode.DEADLINE_EXCEEDED, b"")


class _Client:
    """A client and a handle; an update ends with each of `ends` in turn."""

    def __init__(self, *ends: BaseException | str) -> None:
        self._ends = list(ends)

    def get_workflow_handle(self, _: str) -> Any:
        return self

    async def execute_update(self, *_: Any, **__: Any) -> str:
        end = self._ends.pop(0)
        if isinstance(end, BaseException):
            raise WorkflowUpdateRPCTimeoutOrCancelledError from end
        return end


async def _decision(client: _Client) -> str | None:
    return await updates.decision(cast("Client", client), "order/o-1", b"", str)


async def test_a_decision_whose_call_times_out_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("client.outage._PAUSE_S", 0)
    client = _Client(_TIMED_OUT, _TIMED_OUT, "confirmed")
    assert await OutageBudget().retried(lambda: _decision(client)) == "confirmed"


async def test_a_wait_for_a_decision_that_is_cancelled_stays_so() -> None:
    with pytest.raises(asyncio.CancelledError):
        await _decision(_Client(asyncio.CancelledError()))
