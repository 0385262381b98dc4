"""Waits for the close of a transaction whose lane is not, or no longer, its parent workflow."""

import asyncio
from contextlib import suppress

from temporalio import activity
from temporalio.client import Client, WorkflowFailureError
from temporalio.service import RPCError, RPCStatusCode

from client.handles import result_of
from contracts.lane import AwaitClose, Closed, await_close

_HEARTBEAT_EVERY_S = 15
"""A quarter of the timeout: a worker that dies is replaced within a minute."""


class LaneWatch:
    """An activity of the workflows' own queue."""

    def __init__(self, client: Client) -> None:
        self._client = client

    @activity.defn(name=await_close.name)
    async def await_close(self, request: AwaitClose) -> Closed:
        handle = self._client.get_workflow_handle(request.workflow_id)
        while True:
            activity.heartbeat()
            try:
                with suppress(WorkflowFailureError):  # that is a close, too
                    await asyncio.wait_for(result_of(handle), _HEARTBEAT_EVERY_S)
            except TimeoutError:
                continue
            except RPCError as error:
                if error.status is not RPCStatusCode.NOT_FOUND:  # past its retention
                    raise
            return Closed()
