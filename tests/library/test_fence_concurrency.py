"""Attempts of one step at the same time: one acts, the others wait for it and get what it left."""

import asyncio
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from temporalio.exceptions import ApplicationError

from temporal_saga import Refusal
from temporal_saga.fence.sql import begin

from ..eventually import eventually_async
from .hotel import (
    AsyncHotel,
    Booking,
    BookRoom,
    Call,
    Cancelled,
    Hotel,
    SyncHotel,
    book,
    cancel,
    check_in,
    fence,
    work_of,
)

REQUEST = BookRoom("t-1", datetime(2027, 3, 1, tzinfo=UTC))
BOOKED = Booking(7, REQUEST.night)


class _Attempt:
    """An attempt that stops within its block until the test lets it end."""

    def __init__(self, hotel: AsyncHotel, call: Call, ends_with: Exception | None = None) -> None:
        self._hotel, self._call, self._ends_with = hotel, call, ends_with
        self._is_acting, self._may_end = asyncio.Event(), asyncio.Event()

    async def start(self) -> asyncio.Task[Any]:
        task = asyncio.create_task(self._perform())
        await self._is_acting.wait()
        return task

    async def _perform(self) -> Any:
        engine, call = self._hotel.engine, self._call
        async with begin(engine) as connection, fence.once(connection, call, REQUEST, nothing=Cancelled(0)) as once:
            once.reply = await connection.run_sync(work_of(call, REQUEST))
            self._is_acting.set()
            await self._may_end.wait()
            if self._ends_with is not None:
                raise self._ends_with
        return once.reply

    async def end_before(self, second: asyncio.Task[Any]) -> None:
        """End it when the second attempt waits for it."""
        if self._hotel.engine.dialect.name == "postgresql":
            await eventually_async(self._waits, "the second attempt waits for the first", pause_s=0.01)
        assert not second.done()
        self._may_end.set()

    async def _waits(self) -> int:
        async with self._hotel.engine.connect() as connection:
            waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'hotel' AND wait_event_type = 'Lock'"
            return int((await connection.scalars(text(waiting))).one())


async def _both(hotel: AsyncHotel, first: _Attempt, second: Call) -> list[Any]:
    tasks = [await first.start(), asyncio.create_task(_answer(hotel.deliver(second, REQUEST)))]
    await first.end_before(tasks[1])
    return await asyncio.gather(*tasks, return_exceptions=True)


async def _answer(delivery: Coroutine[Any, Any, Any]) -> Any:
    """The reply, or the code of the refusal."""
    try:
        return await delivery
    except ApplicationError as error:
        return error.type


async def test_a_second_attempt_waits_for_the_first_and_repeats_its_reply(async_hotel: AsyncHotel) -> None:
    assert await _both(async_hotel, _Attempt(async_hotel, book), book) == [BOOKED, BOOKED]
    assert await async_hotel.deeds() == ["hotel.book t-1"]


async def test_a_second_attempt_acts_if_the_first_fails(async_hotel: AsyncHotel) -> None:
    lost = ConnectionError("the worker was lost")
    assert await _both(async_hotel, _Attempt(async_hotel, book, lost), book) == [lost, BOOKED]
    assert await async_hotel.deeds() == ["hotel.book t-1"]


async def test_a_second_attempt_is_refused_if_the_first_is(async_hotel: AsyncHotel) -> None:
    no = Refusal("SOLD_OUT", "no room")
    assert await _both(async_hotel, _Attempt(async_hotel, book, no), book) == [no, "SOLD_OUT"]
    assert await async_hotel.deeds() == []


async def test_an_undo_waits_for_its_forward_and_undoes_it(async_hotel: AsyncHotel) -> None:
    assert await _both(async_hotel, _Attempt(async_hotel, book), cancel) == [BOOKED, Cancelled(1)]
    assert await async_hotel.deeds() == ["hotel.book t-1", "hotel.cancel t-1"]


async def test_a_second_undo_waits_for_the_first_and_repeats_its_reply(async_hotel: AsyncHotel) -> None:
    await async_hotel.deliver(book, REQUEST)
    assert await _both(async_hotel, _Attempt(async_hotel, cancel), cancel) == [Cancelled(1), Cancelled(1)]
    assert await async_hotel.deeds() == ["hotel.book t-1", "hotel.cancel t-1"]


async def test_an_undo_waits_for_what_acts_on_its_forward(async_hotel: AsyncHotel) -> None:
    await async_hotel.deliver(book, REQUEST)
    assert await _both(async_hotel, _Attempt(async_hotel, check_in), cancel) == [BOOKED, Cancelled(1)]
    assert await async_hotel.deeds() == ["hotel.book t-1", "hotel.check_in t-1", "hotel.cancel t-1"]


async def test_nothing_acts_on_what_is_being_undone(async_hotel: AsyncHotel) -> None:
    await async_hotel.deliver(book, REQUEST)
    assert await _both(async_hotel, _Attempt(async_hotel, cancel), check_in) == [Cancelled(1), "NOTHING_TO_ACT_ON"]
    assert await async_hotel.deeds() == ["hotel.book t-1", "hotel.cancel t-1"]


async def _until_answered(hotel: Hotel, call: Call) -> Any:
    """Deliver again while SQLite is busy, as Temporal would. Without asyncio, each attempt has its own thread."""
    while True:
        try:
            answer = _answer(hotel.deliver(call, REQUEST))
            return await (asyncio.to_thread(asyncio.run, answer) if isinstance(hotel, SyncHotel) else answer)
        except DBAPIError:
            continue


async def test_ten_attempts_at_once_take_effect_once(hotel: Hotel) -> None:
    answers = await asyncio.gather(*(_until_answered(hotel, book) for _ in range(10)))
    assert answers == [BOOKED] * 10
    assert await hotel.deeds() == ["hotel.book t-1"]


async def test_a_forward_and_its_undo_at_once_leave_no_effect(hotel: Hotel) -> None:
    await asyncio.gather(*(_until_answered(hotel, call) for call in (book, cancel) * 5))
    assert await hotel.deeds() in ([], ["hotel.book t-1", "hotel.cancel t-1"])
    assert await hotel.free_rooms() == 1
    assert await _answer(hotel.deliver(book, REQUEST)) == "STEP_UNDONE"


@pytest.mark.parametrize("async_hotel", ["postgresql"], indirect=True)
async def test_where_a_transaction_sees_one_snapshot_the_second_attempt_fails_and_the_next_repeats(
    async_hotel: AsyncHotel,
) -> None:
    repeatable = AsyncHotel(async_hotel.engine.execution_options(isolation_level="REPEATABLE READ"))
    first, second = await _both(repeatable, _Attempt(repeatable, book), book)
    assert first == BOOKED
    assert isinstance(second, DBAPIError), "Temporal retries it"
    assert await repeatable.deliver(book, REQUEST) == BOOKED
    assert await async_hotel.deeds() == ["hotel.book t-1"]


async def test_a_cancelled_attempt_leaves_no_record(async_hotel: AsyncHotel) -> None:
    task = await _Attempt(async_hotel, book).start()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await async_hotel.state("t-1") is None
    assert await async_hotel.deliver(book, REQUEST) == BOOKED


async def test_records_are_forgotten_over_an_asyncio_connection(async_hotel: AsyncHotel) -> None:
    await async_hotel.deliver(book, REQUEST)
    async with async_hotel.engine.begin() as connection:
        assert await fence.forget(connection, older_than=timedelta(hours=1)) == 0
        assert await fence.forget(connection, older_than=timedelta(0)) == 1
    assert await async_hotel.state("t-1") is None
