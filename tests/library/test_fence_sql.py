"""The fence over others' own SQL: with connections and asyncio connections on SQLite, and on PostgreSQL."""

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import BaseModel
from sqlalchemy import Connection
from sqlalchemy.dialects import mysql
from sqlalchemy.exc import IntegrityError
from sqlalchemy.schema import CreateTable
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from temporal_saga import Operation, Refusal
from temporal_saga.fence import sql
from temporal_saga.fence.sql import Key, insert_or_nothing
from temporal_saga.outcome import Refused, classify

from .hotel import (
    Booking,
    BookRoom,
    Call,
    Cancelled,
    Hotel,
    Stay,
    Work,
    book,
    cancel,
    check_in,
    clean,
    deeds,
    fence,
    note,
    work_of,
)

NIGHT = datetime(2027, 3, 1, tzinfo=UTC)
REQUEST = BookRoom("t-1", NIGHT)
OTHER = BookRoom("t-1", datetime(2027, 3, 2, tzinfo=UTC))


async def refused(hotel: Hotel, call: Call, request: Any, work: Work | None = None) -> tuple[str, str]:
    with pytest.raises(ApplicationError) as raised:
        await hotel.deliver(call, request, work)
    assert raised.value.non_retryable
    return raised.value.type or "", raised.value.message


async def test_a_duplicate_gets_the_first_reply_of_the_declared_type_and_acts_not(hotel: Hotel) -> None:
    first = await hotel.deliver(book, REQUEST)
    assert await hotel.deliver(book, REQUEST) == first == Booking(7, NIGHT)
    assert await hotel.deeds() == ["hotel.book t-1"]


async def test_a_key_with_another_request_is_a_conflict(hotel: Hotel) -> None:
    await hotel.deliver(book, REQUEST)
    assert (await refused(hotel, book, OTHER))[0] == "IDEMPOTENCY_CONFLICT"
    assert (await refused(hotel, cancel, OTHER))[0] == "IDEMPOTENCY_CONFLICT"
    assert await hotel.deliver(book, REQUEST) == Booking(7, NIGHT)


async def test_a_refusal_rolls_back_what_its_block_wrote_and_is_kept_after_its_reason_is_gone(hotel: Hotel) -> None:
    await hotel.deliver(book, BookRoom("t-0", NIGHT))
    first = await refused(hotel, book, REQUEST)
    assert first == ("SOLD_OUT", "no room on 01 March")
    assert await hotel.deeds() == ["hotel.book t-0"]
    await hotel.deliver(cancel, BookRoom("t-0", NIGHT))
    assert await hotel.free_rooms() == 1
    assert await refused(hotel, book, REQUEST) == first
    assert await hotel.free_rooms() == 1


async def test_a_forward_after_its_undo_is_refused_and_a_second_undo_gets_the_first_reply(hotel: Hotel) -> None:
    await hotel.deliver(book, REQUEST)
    assert await hotel.deliver(cancel, REQUEST) == Cancelled(1)
    assert await hotel.deliver(cancel, REQUEST) == Cancelled(1)
    assert (await refused(hotel, book, REQUEST))[0] == "STEP_UNDONE"
    assert await hotel.deeds() == ["hotel.book t-1", "hotel.cancel t-1"]


async def test_an_undo_of_nothing_does_not_act_and_its_tombstone_keeps_the_late_forward_out(hotel: Hotel) -> None:
    assert await hotel.deliver(cancel, REQUEST) == Cancelled(0)
    assert await hotel.state("t-1") == "TOMBSTONE"
    assert (await refused(hotel, book, REQUEST))[0] == "STEP_UNDONE"
    assert await hotel.deliver(cancel, REQUEST) == Cancelled(0)
    assert await hotel.deeds() == []


async def test_an_undo_of_a_refusal_does_not_act_and_leaves_a_tombstone(hotel: Hotel) -> None:
    await hotel.deliver(book, BookRoom("t-0", NIGHT))
    await refused(hotel, book, REQUEST)
    assert await hotel.deliver(cancel, REQUEST) == Cancelled(0)
    assert await hotel.state("t-1") == "TOMBSTONE"
    assert (await refused(hotel, book, REQUEST))[0] == "STEP_UNDONE"
    assert await hotel.free_rooms() == 0


@pytest.mark.parametrize(("call", "request_"), [(check_in, REQUEST), (clean, Stay("t-1", 7))], ids=["same", "reply"])
async def test_an_operation_acts_on_what_is_done_only_and_its_refusal_is_not_kept(
    hotel: Hotel, call: Call, request_: Any
) -> None:
    assert (await refused(hotel, call, request_))[0] == "NOTHING_TO_ACT_ON"
    await hotel.deliver(book, REQUEST)
    for other in [OTHER] if call is check_in else [Stay("t-1", 8)]:
        assert (await refused(hotel, call, other))[0] == "IDEMPOTENCY_CONFLICT"
    await hotel.deliver(call, request_)
    await hotel.deliver(cancel, REQUEST)
    await hotel.deliver(call, request_)
    assert (await hotel.deeds()).count(f"{getattr(call, 'name', '')} t-1") == 1


_ARRIVALS: list[tuple[Call, str, bool]] = [
    (book, "a", True),
    (book, "b", True),
    (book, "a", False),
    (cancel, "a", True),
    (cancel, "b", True),
]
"""Operation, request, and whether the business would accept it at that moment."""


async def test_any_three_arrivals_leave_one_effect_and_none_after_its_undo(hotel: Hotel) -> None:
    for number, arrivals in enumerate(itertools.product(_ARRIVALS, repeat=3)):
        seen = [await _arrive(hotel, f"t-{number}", *arrival) for arrival in arrivals]
        done = [deed.split()[0] for deed in await hotel.deeds() if deed.endswith(f" t-{number}")]
        assert done in ([], ["do"], ["do", "undo"]) or [d.split()[0] for d in done] in (["do"], ["do", "undo"]), (
            arrivals
        )
        replied = [at for at, answer in enumerate(seen) if arrivals[at][0] is cancel and isinstance(answer, Cancelled)]
        if replied:
            late = [seen[at] for at in range(replied[0], 3) if arrivals[at][0] is book]
            assert set(late) <= {"STEP_UNDONE", "IDEMPOTENCY_CONFLICT"}, arrivals


async def _arrive(hotel: Hotel, transaction_id: str, call: Call, content: str, accepted: bool) -> Any:  # noqa: FBT001
    request = BookRoom(transaction_id, NIGHT, [content])

    def work(tx: Connection) -> Any:
        note(tx, f"{'do' if call is book else 'undo'} {transaction_id}")
        if not accepted:
            raise Refusal("SOLD_OUT", "no room")
        return Booking(7, NIGHT) if call is book else Cancelled(1)

    try:
        return await hotel.deliver(call, request, work)
    except ApplicationError as error:
        return error.type


async def test_the_rollback_of_the_callers_transaction_takes_the_record_along(hotel: Hotel) -> None:
    def book_and_fail(tx: Connection) -> None:
        with fence.once(tx, book, REQUEST) as once:
            once.reply = work_of(book, REQUEST)(tx)
        raise LookupError

    with pytest.raises(LookupError):
        await hotel.run(book_and_fail)
    assert await hotel.state("t-1") is None
    assert await hotel.deliver(book, REQUEST) == Booking(7, NIGHT)
    assert await hotel.deeds() == ["hotel.book t-1"]


async def test_a_refusal_in_a_transaction_that_is_rolled_back_is_not_kept(hotel: Hotel) -> None:
    def refuse(tx: Connection) -> None:
        with fence.once(tx, book, REQUEST):
            raise Refusal("SOLD_OUT", "no room")

    with pytest.raises(ApplicationError):
        await hotel.run(refuse)
    assert await hotel.state("t-1") is None


async def test_many_requests_share_a_transaction_and_a_refused_one_takes_only_its_own_writes_back(hotel: Hotel) -> None:
    requests = [BookRoom(f"t-{number}", NIGHT) for number in range(3)]
    codes = list[str | None]()

    def book_all(tx: Connection) -> None:
        for request in requests:
            try:
                with fence.once(tx, book, request) as once:
                    once.reply = work_of(book, request)(tx)
            except ApplicationError as error:
                codes.append(error.type)

    await hotel.run(book_all)
    assert codes == ["SOLD_OUT", "SOLD_OUT"]
    assert await hotel.deeds() == ["hotel.book t-0"]
    assert [await hotel.state(request.transaction_id) for request in requests] == ["DONE", "REFUSED", "REFUSED"]


@pytest.mark.parametrize("refuses_for_now", [True, False], ids=["not-kept", "error"])
async def test_a_block_that_fails_leaves_nothing_in_a_transaction_that_goes_on(
    hotel: Hotel, *, refuses_for_now: bool
) -> None:
    def fail(tx: Connection) -> None:
        note(tx, "before")
        with pytest.raises((ApplicationError, IntegrityError)), fence.once(tx, book, REQUEST):
            note(tx, "within")
            if refuses_for_now:
                raise Refusal("NOTHING_TO_ACT_ON", "the hotel has not opened")
            tx.execute(deeds.insert(), [{"id": 7, "deed": "one"}, {"id": 7, "deed": "one key, two rows"}])

    await hotel.run(fail)
    assert await hotel.state("t-1") is None
    assert await hotel.deliver(book, REQUEST) == Booking(7, NIGHT)
    assert await hotel.deeds() == ["before", "hotel.book t-1"]


async def test_a_block_that_does_not_ask_whether_it_acts_fails_at_the_first_duplicate_and_changes_nothing(
    hotel: Hotel,
) -> None:
    def book_always(tx: Connection) -> None:
        with fence.once(tx, book, REQUEST) as once:
            note(tx, "booked")
            once.reply = Booking(7, NIGHT)

    await hotel.run(book_always)
    with pytest.raises(RuntimeError, match=r"only `if once\.acts`"):
        await hotel.run(book_always)

    def note_always(tx: Connection) -> None:  # without a reply, as most undos are
        with fence.once(tx, Key("t-2", "note"), {}):
            note(tx, "noted")

    await hotel.run(note_always)
    with pytest.raises(RuntimeError, match=r"its block must ask `once\.acts`"):
        await hotel.run(note_always)
    assert await hotel.deeds() == ["booked", "noted"]


async def test_a_block_that_ends_the_transaction_is_told_and_never_acts_again(hotel: Hotel) -> None:
    def commit_within(tx: Connection) -> None:
        with fence.once(tx, book, REQUEST) as once:
            note(tx, "booked")
            once.reply = Booking(7, NIGHT)
            tx.commit()

    with pytest.raises(RuntimeError, match="has ended the transaction of its fence"):
        await hotel.run(commit_within)
    with pytest.raises(ApplicationError, match="kept reply cannot be read") as raised:
        await hotel.deliver(book, REQUEST)
    assert (raised.value.type, raised.value.non_retryable) == ("UNREADABLE_REPLY", False)
    assert await hotel.deeds() == ["booked"]


@pytest.mark.parametrize(
    ("call", "reply", "error"),
    [
        (book, None, "hotel.book has a reply that cannot be kept"),
        (cancel, None, "hotel.cancel replies with Cancelled: give its reply to an undo of `nothing`, too"),
        (book, Booking, "type is not JSON"),
    ],
    ids=["reply-missing", "nothing-missing", "reply-not-json"],
)
async def test_a_reply_that_could_not_be_repeated_fails_at_the_first_call(
    hotel: Hotel, call: Call, reply: Any, error: str
) -> None:
    with pytest.raises(TypeError, match=error):
        await hotel.deliver(call, REQUEST, lambda _: reply, nothing=None)
    assert await hotel.state("t-1") is None


async def test_a_key_without_an_operation_keeps_any_json(hotel: Hotel) -> None:
    key = Key("t-1", "book")
    assert await hotel.deliver(key, {"night": 1}, lambda _: {"room": 7}) == {"room": 7}
    assert await hotel.deliver(key, {"night": 1}, lambda _: {"room": 8}) == {"room": 7}
    assert await hotel.deliver(Key("t-1", "book", undo=True), {"night": 1}, lambda _: None) is None
    assert (await refused(hotel, key, {"night": 1}))[0] == "STEP_UNDONE"


@pytest.mark.parametrize("key", [Key("", "book"), Key("t-1", "b" * 256)], ids=["empty", "too-long"])
async def test_a_key_that_the_table_has_no_room_for_is_refused(hotel: Hotel, key: Key) -> None:
    code, message = await refused(hotel, key, REQUEST)
    assert code == "INVALID_REQUEST"
    assert "it must have 1 to 255" in message


async def test_a_request_without_a_transaction_id_is_told_how_to_give_one(hotel: Hotel) -> None:
    with pytest.raises(TypeError, match="a dict has no `transaction_id`: give the fence a `Key`"):
        await hotel.deliver(book, {"night": 1})


class _Hold(BaseModel):
    transaction_id: str
    until: datetime


@pytest.mark.parametrize("reply", [_Hold, list[_Hold], dict[str, int], int | None], ids=str)
async def test_a_reply_of_any_declared_type_comes_back_as_it_was(hotel: Hotel, reply: Any) -> None:
    hold = _Hold(transaction_id="t-1", until=NIGHT)
    first = {_Hold: hold, list[_Hold]: [hold], dict[str, int]: {"rooms": 3}}.get(reply)
    operation: Operation[Any, Any] = Operation("hotel.hold", _Hold, reply, queue="hotel")
    assert await hotel.deliver(operation, hold, lambda _: first) == first
    assert await hotel.deliver(operation, hold, lambda _: None) == first


async def test_records_are_forgotten_in_batches_by_the_time_of_their_last_write(
    hotel: Hotel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql, "FORGOTTEN_AT_ONCE", 2)
    for number in range(5):
        await hotel.deliver(Key(f"t-{number}", "book"), {}, lambda _: "booked")
    old = fence.table.update().values(written_at=datetime.now(UTC) - timedelta(days=91))
    await hotel.run(lambda tx: tx.execute(old.where(fence.table.c.transaction_id != "t-4")))
    await hotel.deliver(Key("t-3", "book", undo=True), {}, lambda _: "undone")
    assert [await hotel.run(lambda tx: fence.forget(tx, timedelta(days=90))) for _ in range(3)] == [2, 1, 0]
    assert [await hotel.state(f"t-{number}", "book") for number in range(5)] == [None, None, None, "UNDONE", "DONE"]
    assert await hotel.deliver(Key("t-0", "book"), {}, lambda _: "booked again") == "booked again"


async def test_a_refusal_in_an_activity_tells_the_saga_its_code_and_the_attempt(hotel: Hotel) -> None:
    await hotel.deliver(book, BookRoom("t-0", NIGHT))
    environment = ActivityEnvironment()
    environment.info = replace(environment.info, attempt=3)
    with pytest.raises(ApplicationError) as raised:
        await environment.run(hotel.deliver, book, REQUEST)
    assert classify(raised.value, 5) == Refused("SOLD_OUT", "no room on 01 March", 3)


async def test_a_refusal_whose_code_is_no_word_fails_at_the_first_call(hotel: Hotel) -> None:
    def refuse(_: Connection) -> None:
        raise Refusal("Sold out", "no room")

    with pytest.raises(ValueError, match="the code of a refusal is one word, not 'Sold out'"):
        await hotel.deliver(book, REQUEST, refuse)
    assert await hotel.state("t-1") is None


def test_mysql_gets_an_insert_that_passes_over_a_duplicate_and_keys_that_it_compares_exactly() -> None:
    def compiled(statement: Any) -> str:
        return str(statement.compile(dialect=mysql.dialect()))

    table = compiled(CreateTable(fence.table))
    assert table.count("VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL") == 2
    assert "answer MEDIUMTEXT NOT NULL" in table
    assert "PRIMARY KEY (transaction_id, step)" in table
    for dialect in ("mysql", "mariadb"):
        assert compiled(insert_or_nothing(fence.table, dialect)).startswith("INSERT IGNORE INTO operations (")


def test_a_database_that_the_fence_does_not_know_is_named() -> None:
    with pytest.raises(NotImplementedError, match="not on oracle"):
        insert_or_nothing(fence.table, "oracle")
