"""The relay: at least once, in order for each transaction, whatever dies."""

import asyncio
import gc
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import cast

import nats
import pytest
from nats.aio.client import Client as Nats
from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy, StreamConfig

from activities.outbox import OutboxRow
from runtime import relay
from runtime.relay import STREAM, SUBJECTS, _send_in_order, relaying
from tests.eventually import eventually_async

from .jetstream import NatsServer

pytestmark = pytest.mark.processes
_NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@dataclass
class Rows:
    """An outbox in memory. `lives` is false once a crash has kept it from removing."""

    rows: list[OutboxRow] = field(default_factory=list)
    fails: bool | Exception = False
    loses_removal: bool = False

    def add(self, *effects: tuple[str, str]) -> None:
        for transaction_id, operation in effects:
            self.rows.append(OutboxRow(len(self.rows) + 1, transaction_id, operation, '{"amount_minor": 100}', _NOON))

    async def waiting_events(self, limit: int) -> Sequence[OutboxRow]:
        if self.fails:
            raise self.fails if isinstance(self.fails, Exception) else OSError("the database is away")
        return self.rows[:limit]

    async def remove_events(self, ids: Sequence[int]) -> None:
        if self.loses_removal:
            raise OSError("killed after sending")
        self.rows = [row for row in self.rows if row.id not in ids]


async def emptied(outbox: Rows) -> None:
    async def is_empty() -> bool:
        return not outbox.rows

    await eventually_async(is_empty, "every event is sent", pause_s=0.02)


async def test_an_event_is_a_cloud_event_with_a_stable_id(nats_server: NatsServer) -> None:
    outbox = Rows()
    outbox.add(("order/o-1", "payment.authorize"))
    async with relaying(nats_server.url, {"payment": outbox}, (OSError,)):
        await emptied(outbox)
    assert await nats_server.events() == [
        {
            "specversion": "1.0",
            "id": "order/o-1/payment.authorize",
            "source": "/order-saga/payment",
            "type": "payment.authorize",
            "subject": "order/o-1",
            "time": "2026-01-01T12:00:00Z",
            "datacontenttype": "application/json",
            "data": {"amount_minor": 100},
        }
    ]


async def test_an_announcement_has_its_key_in_its_id_and_not_in_its_type(nats_server: NatsServer) -> None:
    outbox = Rows()
    outbox.add(("order/o-1", "saga.parked/run-1"), ("order/o-1", "saga.recovered/run-2"))
    async with relaying(nats_server.url, {"order": outbox}, (OSError,)):
        await emptied(outbox)
    told = [(event["id"], event["type"]) for event in await nats_server.events("order-saga.saga.*")]
    assert told == [
        ("order/o-1/saga.parked/run-1", "saga.parked"),
        ("order/o-1/saga.recovered/run-2", "saga.recovered"),
    ]


async def test_events_of_one_transaction_keep_their_order_among_hundreds_of_others(nats_server: NatsServer) -> None:
    outbox = Rows()
    kinds = ("payment.authorize", "payment.capture", "payment.cancel")
    for kind in kinds:
        outbox.add(*((f"order/o-{number}", kind) for number in range(200)))
    async with relaying(nats_server.url, {"payment": outbox}, (OSError,)):
        await emptied(outbox)
    events = await nats_server.events()
    assert len(events) == 600
    for number in range(200):
        assert tuple(e["type"] for e in events if e["subject"] == f"order/o-{number}") == kinds


async def test_a_relay_that_dies_between_sending_and_removing_sends_again_and_the_stream_has_each_event_once(
    nats_server: NatsServer,
) -> None:
    outbox = Rows(loses_removal=True)
    outbox.add(("order/o-1", "payment.authorize"), ("order/o-1", "payment.capture"))
    async with relaying(nats_server.url, {"payment": outbox}, (OSError,)):
        await nats_server.until(2)
    outbox.loses_removal = False
    outbox.add(("order/o-1", "payment.cancel"))
    async with relaying(nats_server.url, {"payment": outbox}, (OSError,)):
        await emptied(outbox)
    types = [event["type"] for event in await nats_server.events()]
    assert types == ["payment.authorize", "payment.capture", "payment.cancel"]


async def test_an_event_that_is_not_acknowledged_keeps_back_the_later_ones_of_its_transaction() -> None:
    sent: list[str] = []

    class LosesTheFirst:
        async def publish(self, subject: str, *_: object, **__: object) -> None:
            if subject.endswith("authorize"):
                raise TimeoutError
            sent.append(subject)

    outbox = Rows()
    outbox.add(("order/o-1", "payment.authorize"), ("order/o-1", "payment.capture"))
    ids, error = await _send_in_order(cast("JetStreamContext", LosesTheFirst()), "payment", outbox.rows)
    assert (ids, sent) == ([], [])
    assert isinstance(error, TimeoutError)


async def test_an_event_that_the_stream_refuses_waits(
    nats_server: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    client = await nats.connect(nats_server.url)
    full = StreamConfig(name=STREAM, subjects=[SUBJECTS], max_msgs=1, discard=DiscardPolicy.NEW)
    await client.jetstream().add_stream(full)
    await client.close()
    outbox = Rows()
    outbox.add(("order/o-1", "payment.authorize"), ("order/o-1", "payment.capture"))
    async with relaying(nats_server.url, {"payment": outbox}, (OSError,)):

        async def is_said() -> bool:
            return "maximum messages exceeded" in caplog.text

        await eventually_async(is_said, "the refusal is said")
    assert [row.operation for row in outbox.rows] == ["payment.capture"]


async def test_two_relays_of_one_outbox_put_each_event_once_and_in_order(nats_server: NatsServer) -> None:
    outbox = Rows()
    for number in range(50):
        outbox.add((f"order/o-{number}", "payment.authorize"), (f"order/o-{number}", "payment.capture"))
    async with (
        relaying(nats_server.url, {"payment": outbox}, (OSError,)),
        relaying(nats_server.url, {"payment": outbox}, (OSError,)),
    ):
        await emptied(outbox)
    events = await nats_server.events()
    assert len(events) == 100
    for number in range(50):
        of_order = [event["type"] for event in events if event["subject"] == f"order/o-{number}"]
        assert of_order == ["payment.authorize", "payment.capture"]


async def test_events_wait_while_nats_is_away_and_the_log_says_so_once(
    nats_server: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    outbox = Rows()
    outbox.add(("order/o-1", "payment.authorize"))
    with caplog.at_level(logging.WARNING, "events"):
        async with relaying(nats_server.url, {"payment": outbox}, (OSError,)):
            await emptied(outbox)
            await nats_server.stop()
            outbox.add(("order/o-1", "payment.capture"))

            async def is_said() -> bool:
                return "events wait" in caplog.text

            await eventually_async(is_said, "the outage is said")
            assert outbox.rows
            await nats_server.start()
            await emptied(outbox)
    types = [event["type"] for event in await nats_server.events()]
    assert types == ["payment.authorize", "payment.capture"]
    said = [record.getMessage() for record in caplog.records if record.name == "events"]
    assert [words.partition(",")[0] for words in said] == ["events wait", "events are sent again"]


async def test_a_database_that_is_away_is_said_by_name_and_asked_again(
    nats_server: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    outbox = Rows(fails=True)
    outbox.add(("order/o-1", "payment.authorize"))
    with caplog.at_level(logging.WARNING, "events"):
        async with relaying(nats_server.url, {"payment": outbox}, (OSError,)):

            async def is_said() -> bool:
                return "the outbox of payment: the database is away" in caplog.text

            await eventually_async(is_said, "the outage is said")
            outbox.fails = False
            await emptied(outbox)
    assert len(await nats_server.events()) == 1


@pytest.mark.parametrize("error", [ConnectionResetError(), KeyError("unforeseen")], ids=["without words", "unforeseen"])
async def test_no_error_of_an_outbox_ends_its_relay(nats_server: NatsServer, error: Exception) -> None:
    outbox = Rows(fails=error)
    outbox.add(("order/o-1", "payment.authorize"))
    async with relaying(nats_server.url, {"payment": outbox}, (OSError,)):
        await asyncio.sleep(0.1)  # it has met the error
        outbox.fails = False
        await emptied(outbox)
    assert len(await nats_server.events()) == 1


async def test_a_connection_that_cannot_be_closed_holds_up_no_worker_that_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    class Vanished:
        async def close(self) -> None:
            await asyncio.Event().wait()

    monkeypatch.setattr(relay, "_CLOSED_WITHIN_S", 0.1)
    async with asyncio.timeout(5):
        await relay._close(cast("Nats", Vanished()))


async def test_a_server_that_says_nothing_is_left_without_an_open_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "_CONNECTED_WITHIN_S", 0.2)
    left = asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        left.set()
        writer.close()

    silent = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    gc.disable()  # which would close it late, and by chance
    try:
        with pytest.raises(TimeoutError):
            await relay._connect(f"nats://127.0.0.1:{silent.sockets[0].getsockname()[1]}")
        await asyncio.wait_for(left.wait(), 5)
    finally:
        gc.enable()
        silent.close()
