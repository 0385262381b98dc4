"""A workflow that no worker takes up is told as one, however many clients ask it."""

import asyncio
from uuid import uuid4

import pytest

from client.standing import log_by_query
from contracts.errors import Code
from contracts.ids import ORDER_WORKFLOW
from temporal_saga import Failure
from tests.rig import Rig

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.mark.long  # it waits for an answer that does not come
async def test_clients_who_ask_at_once_are_each_told_that_no_worker_runs(rig: Rig) -> None:
    """The server keeps one query of a workflow without a worker, and refuses another beside it."""
    queue = f"nobody-{uuid4().hex[:8]}"
    handle = await rig.client.start_workflow(ORDER_WORKFLOW, {}, id=f"order/{queue}", task_queue=queue)
    logs = await asyncio.gather(*(log_by_query(rig.client, handle.id) for _ in range(6)))
    await handle.terminate()
    told = Failure(
        Code.SERVICE_UNAVAILABLE, f"no worker polls its queue `{queue}`; start `worker.py --service {queue}`"
    )
    assert [log.error for log in logs] == [told] * 6
