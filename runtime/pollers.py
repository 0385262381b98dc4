"""The pollers of a task queue, at all of its partitions.

A poll waits for up to a minute at one partition of the queue. By default the server names the pollers of the first
partition only, and an idle worker may be at another one. Its answer about all partitions is some seconds old. This
module therefore requests both.
"""

from datetime import UTC, datetime, timedelta

from temporalio.api.enums.v1 import DescribeTaskQueueMode, TaskQueueType
from temporalio.api.taskqueue.v1 import PollerInfo, TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client

POLLS_WITHIN = timedelta(seconds=70)
"""A poll lasts a minute: a worker that has begun none for longer is gone, though Temporal names it for five minutes."""


async def last_poll(client: Client, queue: str, kind: TaskQueueType.ValueType) -> datetime | None:
    """When the latest poll of `queue` began; `None` if no worker serves it any more. Raises `RPCError`."""
    found = await pollers_of(client, queue, kind)
    last = max((poller.last_access_time.ToDatetime(tzinfo=UTC) for poller in found), default=None)
    return None if last is None or datetime.now(UTC) - last > POLLS_WITHIN else last


async def pollers_of(client: Client, queue: str, kind: TaskQueueType.ValueType) -> list[PollerInfo]:
    """The pollers of `queue` for one kind of task. Raises `RPCError`."""
    request = DescribeTaskQueueRequest(
        namespace=client.namespace, task_queue=TaskQueue(name=queue), task_queue_type=kind
    )
    first = await client.workflow_service.describe_task_queue(request)
    request.api_mode = DescribeTaskQueueMode.DESCRIBE_TASK_QUEUE_MODE_ENHANCED
    request.report_pollers = True
    request.task_queue_types.append(kind)
    everywhere = await client.workflow_service.describe_task_queue(request)
    found = (types for version in everywhere.versions_info.values() for types in version.types_info.values())
    return [*first.pollers, *(poller for types in found for poller in types.pollers)]
