"""The relay from the outbox of a service to NATS JetStream: each event at least once, in order for each transaction.

An event is a CloudEvent 1.0 as JSON. Its id is made of the transaction and the operation, which takes effect once, so
it is the same however often the event is sent; JetStream drops what it has had within `DEDUPLICATED_FOR`, and after
that a consumer can. A relay that is killed between sending and removing sends again.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from itertools import groupby
from operator import attrgetter
from typing import Any, Protocol, TypeVar

from nats.aio.client import Client as Nats
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import StreamConfig
from nats.js.errors import NotFoundError

from temporal_saga.outcome import first_line

STREAM = "ORDER_SAGA"
SUBJECTS = "order-saga.>"
DEDUPLICATED_FOR = timedelta(hours=1)
"""An hour of message ids in the server's memory. A relay that stalls for as long has lost its connection before."""
KEPT_FOR = timedelta(days=7)
"""How long JetStream keeps an event for a consumer that was away."""
_AT_ONCE = 500
_IDLE_S = 0.5
"""Pause after an empty outbox: events are for people and for other systems, which react within seconds."""
_LONGEST_PAUSE_S = 30
_ACKNOWLEDGED_WITHIN_S = 5
_CONNECTED_WITHIN_S = 5
_CLOSED_WITHIN_S = 2
"""Closing sends what is left, which a peer that has vanished takes only when the kernel gives up."""
_AWAY = (NatsError, OSError, TimeoutError)
T = TypeVar("T")
_log = logging.getLogger("events")


class Event(Protocol):
    """A row of an outbox."""

    @property
    def id(self) -> int: ...
    @property
    def transaction_id(self) -> str: ...
    @property
    def operation(self) -> str: ...
    @property
    def reply(self) -> str: ...
    @property
    def at(self) -> datetime: ...


class Outbox(Protocol):
    """The events of one service that wait to be sent."""

    async def waiting_events(self, limit: int) -> Sequence[Event]: ...

    async def remove_events(self, ids: Sequence[int]) -> None: ...


def cloud_event(service: str, event: Event) -> dict[str, Any]:
    """The event as the world outside gets it. What is before a slash in the operation is its type."""
    return {
        "specversion": "1.0",
        "id": f"{event.transaction_id}/{event.operation}",
        "source": f"/order-saga/{service}",
        "type": _type_of(event),
        "subject": event.transaction_id,
        "time": event.at.isoformat().replace("+00:00", "Z"),
        "datacontenttype": "application/json",
        "data": json.loads(event.reply),
    }


def _type_of(event: Event) -> str:
    return event.operation.partition("/")[0]


@asynccontextmanager
async def relaying(
    url: str, outboxes: Mapping[str, Outbox], failures: tuple[type[Exception], ...]
) -> AsyncIterator[None]:
    """Relay the events of `outboxes`, by service, within the block. `failures` are the errors of their databases.

    A NATS server that is away stops no service: the events wait, and the log says so once.
    """
    relay = _Relay(url, failures)
    tasks = [asyncio.create_task(relay.run(service, outbox)) for service, outbox in outboxes.items()]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await relay.close()


class _OutboxFailed(Exception):
    """The service's database does not answer."""


class _Relay:
    """One connection for the outboxes of a process. It is opened when there is something to send, and again after each
    failure."""

    def __init__(self, url: str, failures: tuple[type[Exception], ...]) -> None:
        self._url = url
        self._failures = failures
        self._connecting = asyncio.Lock()
        self._client: Nats | None = None
        self._is_away = False

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await _close(client)

    async def run(self, service: str, outbox: Outbox) -> None:
        """Send what waits, for ever. The pauses between failures double up to half a minute."""
        pause = _IDLE_S
        while True:
            try:
                sent = await self._pass(service, outbox)
                pause = _IDLE_S
            except _OutboxFailed as error:
                sent, pause = 0, min(pause * 2, _LONGEST_PAUSE_S)
                _log.warning("the outbox of %s: %s", service, error)
            except _AWAY as error:
                sent, pause = 0, min(pause * 2, _LONGEST_PAUSE_S)
                await self._note_outage(error)
            except Exception:  # noqa: BLE001 — whatever it is: a relay that ends keeps back every later event
                sent, pause = 0, min(pause * 2, _LONGEST_PAUSE_S)
                _log.exception("the relay of %s tries again after an error", service)
            if not sent:
                await asyncio.sleep(pause)

    async def _pass(self, service: str, outbox: Outbox) -> int:
        """Send the events that have waited longest, those of different transactions side by side."""
        waiting = await self._of_outbox(outbox.waiting_events(_AT_ONCE))
        if not waiting:
            return 0
        stream = await self._connected()
        of = attrgetter("transaction_id")
        by_transaction = [list(events) for _, events in groupby(sorted(waiting, key=of), of)]
        answers = await asyncio.gather(*(_send_in_order(stream, service, events) for events in by_transaction))
        sent = [each for ids, _ in answers for each in ids]
        if sent:
            await self._of_outbox(outbox.remove_events(sent))
        for error in filter(None, (error for _, error in answers)):
            raise error
        self._note_answer()
        return len(sent)

    async def _of_outbox(self, work: Awaitable[T]) -> T:
        try:
            return await work
        except self._failures as error:
            raise _OutboxFailed(first_line(error)) from error

    async def _connected(self) -> JetStreamContext:
        async with self._connecting:
            if self._client is None or not self._client.is_connected:
                await self.close()
                self._client = await _connect(self._url)
                await _make_stream(self._client.jetstream())
            return self._client.jetstream()

    async def _note_outage(self, error: Exception) -> None:
        await self.close()
        if not self._is_away:
            self._is_away = True
            _log.warning("events wait, because NATS of EVENTS_URL has not taken one: %s", first_line(error))

    def _note_answer(self) -> None:
        if self._is_away:
            self._is_away = False
            _log.warning("events are sent again")


async def _connect(url: str) -> Nats:
    client = Nats()
    try:
        # Without the client's own reconnecting: it would keep events in its memory, and log each attempt.
        await client.connect(
            url,
            allow_reconnect=False,
            connect_timeout=_CONNECTED_WITHIN_S,
            max_reconnect_attempts=1,
            reconnect_time_wait=0,
            error_cb=_ignore,
        )
    except BaseException:
        await _close(client)  # it leaves its connection open
        raise
    return client


async def _close(client: Nats) -> None:
    with suppress(*_AWAY):
        await asyncio.wait_for(client.close(), _CLOSED_WITHIN_S)


async def _make_stream(stream: JetStreamContext) -> None:
    """Create the stream, unless there is one: an administrator may have made it with other limits."""
    try:
        await stream.stream_info(STREAM)
    except NotFoundError:
        config = StreamConfig(
            name=STREAM,
            subjects=[SUBJECTS],
            max_age=KEPT_FOR.total_seconds(),
            duplicate_window=DEDUPLICATED_FOR.total_seconds(),
        )
        await stream.add_stream(config)


async def _send_in_order(
    stream: JetStreamContext, service: str, events: Sequence[Event]
) -> tuple[list[int], Exception | None]:
    """Send the events of one transaction, each when the one before is acknowledged.

    Returns the ids of those that were, and why the next one was not.
    """
    sent: list[int] = []
    for event in events:
        told = cloud_event(service, event)
        headers = {"Nats-Msg-Id": told["id"], "Content-Type": "application/cloudevents+json"}
        try:
            await stream.publish(
                f"order-saga.{_type_of(event)}",
                json.dumps(told).encode(),
                headers=headers,
                timeout=_ACKNOWLEDGED_WITHIN_S,
            )
        except _AWAY as error:
            return sent, error
        sent.append(event.id)
    return sent, None


async def _ignore(_: Exception) -> None:
    """The client's own report of an error, which the call that met it raises too."""
