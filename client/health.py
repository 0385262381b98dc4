"""Checks of an installation, as far as Temporal shows it: what was found, what mends it, within seconds."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from pydantic import BaseModel, Field
from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.taskqueue.v1 import PollerInfo, TaskQueue
from temporalio.api.workflowservice.v1 import (
    DescribeNamespaceRequest,
    DescribeTaskQueueRequest,
    GetClusterInfoRequest,
    PollActivityTaskQueueRequest,
)
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from client import handles
from contracts.catalogue import QUEUES
from contracts.ids import BATCH_WORKFLOW, DECIDERS, SCHEDULE_ID, TRANSACTION_WORKFLOW
from contracts.order import WORKFLOWS_QUEUE
from runtime.encryption import is_encrypted, key_ids
from runtime.pollers import POLLS_WITHIN, pollers_of
from runtime.settings import Settings, SettingsError
from temporal_saga import SEARCH_ATTRIBUTES, missing_search_attributes

TIMEOUT_S = 5
"""Limit on each check; most take some milliseconds."""
MAX_CLOCK_DIFFERENCE = timedelta(seconds=5)
"""Hosts that ask a time server differ by milliseconds. A difference shifts the deadlines of orders that a client dates,
and the leases of the services."""
_REGISTER = "`python -m temporal_saga register`, and start the workers of orders again"
_CLOCK_QUEUE = "doctor"
_CLOCK_POLLS = 4
"""As many as a queue has partitions by default: the server gives each of them one."""
_LOOK_EVERY_S = 0.05
_EVENTS_LOOKED_AT = 50
_KINDS = {"workflows": TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW, "activities": TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY}


class Check(BaseModel):
    """`remedy` is empty where nothing is wrong."""

    check: str
    ok: bool
    found: str
    remedy: str = ""
    unreachable: bool = Field(default=False, exclude=True)
    """Whether Temporal or a database does not answer."""


Look = Callable[[], Awaitable[Check]]


async def checked(name: str, look: Look, remedy: str) -> Check:
    """What `look` returns; a fault with `remedy` if it fails or is not over within `TIMEOUT_S`."""
    try:
        return await asyncio.wait_for(look(), TIMEOUT_S)
    except TimeoutError:
        return Check(check=name, ok=False, found=f"no answer within {TIMEOUT_S} s", remedy=remedy, unreachable=True)
    except SettingsError as error:
        return Check(check=name, ok=False, found=str(error), remedy=remedy)
    except RPCError as error:
        if error.status in (RPCStatusCode.PERMISSION_DENIED, RPCStatusCode.UNIMPLEMENTED):
            return Check(check=name, ok=True, found=f"this client may not look at it ({error.status.name})")
        away = error.status in (RPCStatusCode.UNAVAILABLE, RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.CANCELLED)
        return Check(check=name, ok=False, found=error.message.partition("\n")[0], remedy=remedy, unreachable=away)


async def of_temporal(client: Client, settings: Settings) -> list[Check]:
    """The checks of a Temporal that answers, all at once."""
    namespace = await checked("namespace", lambda: _namespace(client), "see TEMPORAL_NAMESPACE and TEMPORAL_API_KEY")
    if not namespace.ok:
        return [namespace]
    rest = [
        checked("search attributes", lambda: _search_attributes(client), _REGISTER),
        *(
            checked(f"workers of {queue}", lambda queue=queue: workers(client, queue), _start(queue))  # type: ignore[misc]  # mypy knows no default of a lambda
            for queue in QUEUES
        ),
        checked("clock", lambda: _clock(client), "try again"),
        checked("keys", lambda: _keys(client, settings), "give every worker and client the same PAYLOAD_KEY"),
        checked("sweep", lambda: _sweep(client), _start(WORKFLOWS_QUEUE)),
    ]
    return [namespace, *await asyncio.gather(*rest)]


async def server(client: Client) -> Check:
    info = await client.workflow_service.get_cluster_info(GetClusterInfoRequest())
    where = client.service_client.config.target_host
    return Check(check="server", ok=True, found=f"Temporal {info.server_version} at {where}")


def _start(queue: str) -> str:
    return f"start `worker.py --service {queue}`, or `make up` for all"


async def _namespace(client: Client) -> Check:
    try:
        found = await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=client.namespace))
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        remedy = f"set TEMPORAL_NAMESPACE, or `temporal operator namespace create --namespace {client.namespace}`"
        return Check(check="namespace", ok=False, found=f"there is no {client.namespace!r}", remedy=remedy)
    days = found.config.workflow_execution_retention_ttl.ToTimedelta() / timedelta(days=1)
    return Check(check="namespace", ok=True, found=f"{client.namespace}, retention {days:g} d")


async def _search_attributes(client: Client) -> Check:
    name, missing = "search attributes", await missing_search_attributes(client)
    if not missing:
        return Check(check=name, ok=True, found=", ".join(key.name for key in SEARCH_ATTRIBUTES))
    return Check(check=name, ok=False, found=f"missing: {', '.join(missing)}", remedy=_REGISTER)


async def workers(client: Client, queue: str) -> Check:
    found = {name: _alive(await pollers_of(client, queue, kind)) for name, kind in _KINDS.items()}
    name = f"workers of {queue}"
    missing = [kind for kind, pollers in found.items() if not pollers]
    if missing:
        said = "nobody polls it" if len(missing) == len(found) else f"nobody polls it for {missing[0]}"
        return Check(check=name, ok=False, found=said, remedy=_start(queue))
    pollers = [poller for each in found.values() for poller in each]
    identities = sorted({poller.identity for poller in pollers})
    named = f"{len(identities)} {'worker' if len(identities) == 1 else 'workers'} ({', '.join(identities)})"
    return Check(check=name, ok=True, found=f"{named}, {_builds(pollers)}")


def _alive(pollers: Iterable[PollerInfo]) -> list[PollerInfo]:
    now = datetime.now(UTC)
    return [poller for poller in pollers if now - _time(poller) < POLLS_WITHIN]


def _builds(pollers: Iterable[PollerInfo]) -> str:
    named = {
        f"{poller.deployment_options.deployment_name} {poller.deployment_options.build_id}"
        for poller in pollers
        if poller.HasField("deployment_options") and poller.deployment_options.build_id
    }
    return f"build {', '.join(sorted(named))}" if named else "no build named"


async def _clock(client: Client) -> Check:
    """Compare clocks: the server notes when a poll has begun, so poll a queue that is used for nothing else."""
    identity, began = str(uuid4()), datetime.now(UTC)
    queue = TaskQueue(name=_CLOCK_QUEUE)
    request = PollActivityTaskQueueRequest(namespace=client.namespace, task_queue=queue, identity=identity)
    limit = timedelta(seconds=2 * TIMEOUT_S)
    polls = [
        asyncio.ensure_future(client.workflow_service.poll_activity_task_queue(request, timeout=limit))
        for _ in range(_CLOCK_POLLS)
    ]
    describe = DescribeTaskQueueRequest(
        namespace=client.namespace, task_queue=queue, task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY
    )
    try:
        while True:
            answer = await client.workflow_service.describe_task_queue(describe)
            noted = [_time(poller) for poller in answer.pollers if poller.identity == identity]
            if noted:
                return compared(noted[0], began, datetime.now(UTC))
            if any(poll.done() for poll in polls):
                return Check(check="clock", ok=True, found="cannot be compared: the server refuses the poll")
            await asyncio.sleep(_LOOK_EVERY_S)
    finally:
        for poll in polls:
            poll.cancel()
        await asyncio.gather(*polls, return_exceptions=True)


def compared(server_time: datetime, earliest: datetime, latest: datetime) -> Check:
    """`server_time` was noted between `earliest` and `latest` of this host's clock."""
    ahead = max(earliest - server_time, server_time - latest, timedelta(0))
    if ahead <= MAX_CLOCK_DIFFERENCE:
        return Check(check="clock", ok=True, found=f"within {max(ahead.total_seconds(), 0.1):.1f} s of the server's")
    order = "behind" if server_time > latest else "ahead of"
    return Check(
        check="clock",
        ok=False,
        found=f"this host is {ahead.total_seconds():.0f} s {order} the server",
        remedy="have both take the time from a time server (`timedatectl set-ntp true`)",
    )


async def _keys(client: Client, settings: Settings) -> Check:
    """Whether the newest workflow was written with the key of this environment, or without one as here."""
    own = f"{DECIDERS} OR WorkflowType IN ('{TRANSACTION_WORKFLOW}', '{BATCH_WORKFLOW}')"
    here = f"set (key {', '.join(key_ids(settings.payload_key))})" if settings.payload_key else "not set"
    newest = await anext(handles.listed(client, own, page_size=1), None)
    if newest is None:
        return Check(check="keys", ok=True, found=f"PAYLOAD_KEY is {here}; there is no workflow to compare with")
    payloads: dict[str, Payload] = {}
    looked_at = 0
    history = client.get_workflow_handle(newest.id, run_id=newest.run_id)
    async for event in history.fetch_history_events(page_size=_EVENTS_LOOKED_AT):
        for writer, payload in _written(event):
            payloads.setdefault(writer, payload)
        looked_at += 1
        if looked_at == _EVENTS_LOOKED_AT:
            break
    differing = [
        who for who, payload in payloads.items() if is_encrypted(payload) != (settings.payload_key is not None)
    ]
    if differing:
        otherwise = "in clear text" if settings.payload_key else "encrypted"
        found = f"PAYLOAD_KEY is {here}, and {newest.id} was written {otherwise} by {' and '.join(differing)}"
        remedy = "give every worker and client the same PAYLOAD_KEY, or none: docs/runbook.md, Encryption"
        return Check(check="keys", ok=False, found=found, remedy=remedy)
    for payload in payloads.values():
        await client.data_converter.decode([payload])  # SettingsError: it was encrypted with another key
    return Check(check="keys", ok=True, found=f"PAYLOAD_KEY is {here}, as {newest.id} was written")


def _written(event: HistoryEvent) -> Iterable[tuple[str, Payload]]:
    """The payloads of an event, and which process wrote them."""
    yield from (("its client", each) for each in event.workflow_execution_started_event_attributes.input.payloads)
    yield from (
        ("the workers of orders", each) for each in event.activity_task_scheduled_event_attributes.input.payloads
    )
    yield from (("the services", each) for each in event.activity_task_completed_event_attributes.result.payloads)


async def _sweep(client: Client) -> Check:
    try:
        found = await client.get_schedule_handle(SCHEDULE_ID).describe()
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        remedy = "start a worker of orders: it makes the schedule"
        return Check(check="sweep", ok=False, found=f"there is no schedule {SCHEDULE_ID!r}", remedy=remedy)
    if found.schedule.state.paused:
        note = f": {found.schedule.state.note}" if found.schedule.state.note else ""
        remedy = f"`temporal schedule toggle --schedule-id {SCHEDULE_ID} --unpause --reason '…'`"
        return Check(check="sweep", ok=False, found=f"its schedule is paused{note}", remedy=remedy)
    last = f"last {found.info.recent_actions[-1].started_at:%H:%M:%S}Z" if found.info.recent_actions else "not run yet"
    return Check(check="sweep", ok=True, found=f"scheduled, {last}")


def _time(poller: PollerInfo) -> datetime:
    return poller.last_access_time.ToDatetime(tzinfo=UTC)
