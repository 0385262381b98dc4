"""A service that was away does its undos before new orders, and single orders before batches."""

import asyncio
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from temporalio import activity
from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from client.desk import OperatorsDesk
from client.engines.batch import Batch, BatchEngine
from client.orders import Mode, Orders
from composition.serving import serving
from contracts.catalogue import QUEUES
from runtime import connection
from runtime.embedded import embedded_server, free_port
from runtime.execute import execute
from runtime.faults import Fault, FaultInterceptor, FaultKind
from runtime.seed import seed
from runtime.settings import Settings
from temporal_saga import Retry, State
from tests.eventually import eventually_async
from tests.rig import UNREACHABLE, an_order

pytestmark = pytest.mark.long

_UNDOS, _ORDERS = 2, 20
_AWAY, _BATCHED = "payment", "payment.authorize.batch"
_DOWN = Fault(operation="payment.cancel", transaction="order/*", kind=FaultKind.REFUSE)


class _Recorder(Interceptor):
    """Notes the operations in the order in which the workers begin them."""

    def __init__(self) -> None:
        self.begun: list[str] = []

    async def calls(self) -> list[str]:
        return self.begun

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002 — the SDK's name
        return _Recorded(next, self.begun)


class _Recorded(ActivityInboundInterceptor):
    def __init__(self, next: ActivityInboundInterceptor, begun: list[str]) -> None:  # noqa: A002 — the SDK's name
        super().__init__(next)
        self._begun = begun

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002 — the SDK's name
        self._begun.append(activity.info().activity_type)
        return await super().execute_activity(input)


async def _calls_of_the_service_that_was_away(folder: Path) -> list[str]:
    """Park undos of a service, place orders and a batch while it is away. Return the calls that it makes then."""
    settings, faults, recorder = Settings.read(), [_DOWN], _Recorder()
    others = [queue for queue in QUEUES if queue != _AWAY]
    async with embedded_server(port=free_port(), ui_port=free_port(), data=folder) as server:
        client = await connection.connect(settings, address=server.address)
        placed = Orders(client)
        async with serving(client, settings, others, [FaultInterceptor(faults)]):
            async with serving(client, settings, [_AWAY], [FaultInterceptor(faults)]):
                await seed(partial(execute, client))
                refused = [an_order(ship_to=UNREACHABLE) for _ in range(_UNDOS)]
                ends = await asyncio.gather(*(placed.place(each, Mode.SAGA) for each in refused))
                assert {log.state for log in ends} == {State.PARKED}
            faults.clear()
            batch = Batch()
            for each in (an_order(), an_order()):
                batch.add(each.order_id, each.model_dump_json().encode())
            await BatchEngine(client, batch.id).start(batch)
            await asyncio.gather(*(placed.start(an_order(), Mode.SAGA) for _ in range(_ORDERS)))
            await eventually_async(partial(_queued, client), "all orders wait", until=(_ORDERS + 1).__le__)
            desk = OperatorsDesk(client)
            await asyncio.gather(*(desk.decide(each.order_id, "payment.cancel", Retry()) for each in refused))
            await eventually_async(partial(_queued, client), "all wait", until=(_ORDERS + 1 + _UNDOS).__le__)
            async with serving(client, settings, [_AWAY], [recorder]):
                await eventually_async(recorder.calls, "the batch has its turn", until=lambda calls: _BATCHED in calls)
    return recorder.begun


async def _queued(client: Client) -> int:
    """The activities that wait for a worker of the service."""
    request = DescribeTaskQueueRequest(
        namespace=client.namespace,
        task_queue=TaskQueue(name=_AWAY),
        task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY,
        report_stats=True,
    )
    return (await client.workflow_service.describe_task_queue(request)).stats.approximate_backlog_count


async def test_a_service_that_was_away_does_its_undos_first_and_batches_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", f"sqlite+aiosqlite:///{tmp_path}/{{service}}.db")
    begun = await _calls_of_the_service_that_was_away(tmp_path)
    calls = [call for call in begun if call in ("payment.cancel", "payment.authorize", _BATCHED)]
    last_undo = max(place for place, call in enumerate(calls) if call == "payment.cancel")
    assert last_undo < _UNDOS + 5, "the first polls may bring calls of any priority"
    # It was queued before all of them. Replies to the worker's polls overtake one another, so it is not the very last.
    assert calls.index(_BATCHED) > _UNDOS + _ORDERS // 3
