"""One operation for many requests: each has its own outcome, all share one transaction and a fixed number of reads."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event

from activities.fence import PassageState, Refusal
from activities.records import KEYS_PER_QUERY
from contracts import inventory, payment
from contracts.errors import Code
from contracts.message import Reply

from .bench import Bench, Call, assert_invariants
from .conftest import OpenBench
from .requests import charge, purse, reservation, shelf


@contextmanager
def watched(bench: Bench) -> Iterator[list[str]]:
    """The first words of every statement that reaches the database, and COMMIT for every commit."""
    seen: list[str] = []

    def statement(_connection: Any, _cursor: Any, sql: str, _parameters: Any, _context: Any, _many: bool) -> None:  # noqa: FBT001 — SQLAlchemy's signature
        seen.append(sql.split(maxsplit=1)[0])

    def commit(_connection: Any) -> None:
        seen.append("COMMIT")

    engine = bench.database.sync_engine
    event.listen(engine, "before_cursor_execute", statement)
    event.listen(engine, "commit", commit)
    yield seen
    event.remove(engine, "before_cursor_execute", statement)
    event.remove(engine, "commit", commit)


def _code(answer: Reply | Refusal) -> str:
    return answer.code if isinstance(answer, Refusal) else "DONE"


async def test_three_hundred_requests_get_an_outcome_each(open_bench: OpenBench) -> None:
    bench = await open_bench("inventory")
    await bench.accept(Call(inventory.set_stock, shelf("apple", 150)), Call(inventory.set_stock, shelf("pear", 1000)))
    requests = [
        reservation(f"order/{n}", plum=1) if n % 30 == 7 else reservation(f"order/{n}", apple=1, pear=2)
        for n in range(280)
    ]
    duplicates = [*requests[:10], reservation("order/0", apple=9), requests[7], *requests[-8:]]
    answers = await bench.deliver_all(inventory.reserve, [*requests, *duplicates])
    codes = [_code(answer) for answer in answers]
    assert len(codes) == 300
    assert codes.count(Code.UNKNOWN_SKU) == 10 + 3  # ten, and three of them again
    served = [n for n in range(280) if n % 30 != 7][:150]
    assert [n for n in range(280) if codes[n] == "DONE"] == served
    assert all(codes[n] == Code.OUT_OF_STOCK for n in range(served[-1] + 1, 280) if n % 30 != 7)
    assert answers[280] == answers[0]
    assert codes[290] == Code.IDEMPOTENCY_CONFLICT
    assert codes[-8:] == codes[272:280]
    assert [(row["on_hand"], row["reserved"]) for row in await bench.rows("stock")] == [(150, 150), (1000, 300)]
    states = [row["state"] for row in await bench.rows("operations") if row["step"] == "inventory.reserve"]
    assert (states.count(PassageState.DONE), states.count(PassageState.REFUSED)) == (150, 130)
    assert await bench.effects("order/0") == ["inventory.reserve"]
    await assert_invariants(bench)


@pytest.mark.parametrize("length", [1, 300])
async def test_a_list_of_any_length_is_read_in_three_queries_and_committed_once(
    open_bench: OpenBench, length: int
) -> None:
    bench = await open_bench("inventory")
    await bench.accept(Call(inventory.set_stock, shelf("apple", 1000)), Call(inventory.set_stock, shelf("pear", 1000)))
    requests = [reservation(f"order/{n}", apple=1, pear=1) for n in range(length)]
    with watched(bench) as seen:
        await bench.deliver_all(inventory.reserve, requests)
    assert seen.count("SELECT") == 3  # its keys in the fence, the stock, the reservations
    assert seen.count("COMMIT") == 1
    assert seen.count("INSERT") <= 8  # a statement a table, which SQLAlchemy cuts into pages


async def test_a_list_of_duplicates_writes_nothing(open_bench: OpenBench) -> None:
    bench = await open_bench("payment")
    await bench.accept(Call(payment.set_account, purse(10_000)))
    requests = [charge(10, f"order/{n}") for n in range(100)]
    first = await bench.deliver_all(payment.authorize, requests)
    with watched(bench) as seen:
        assert await bench.deliver_all(payment.authorize, requests) == first
    assert "INSERT" not in seen
    assert len(await bench.rows("effects")) == 101


async def test_later_requests_of_a_list_see_what_earlier_ones_took(open_bench: OpenBench) -> None:
    bench = await open_bench("payment")
    await bench.accept(Call(payment.set_account, purse(100)))
    amounts = [60, 50, 40, 1, 0]
    requests = [charge(amount, f"order/{n}") for n, amount in enumerate(amounts)]
    answers = await bench.deliver_all(payment.authorize, requests)
    assert [_code(a) for a in answers] == ["DONE", Code.INSUFFICIENT_FUNDS, "DONE", Code.INSUFFICIENT_FUNDS, "DONE"]
    assert (await bench.row("accounts"))["held_minor"] == 100
    await assert_invariants(bench)


async def test_undoing_a_list_puts_everything_back_whatever_had_become_of_each(open_bench: OpenBench) -> None:
    bench = await open_bench("inventory")
    await bench.accept(Call(inventory.set_stock, shelf("apple", 10)))
    requests = [reservation(f"order/{n}", apple=1) for n in range(20)]  # half of them are refused
    await bench.deliver_all(inventory.reserve, requests)
    await bench.deliver_all(inventory.commit, requests[:5])
    never_sent = [reservation(f"order/{n}", apple=1) for n in range(20, 30)]
    answers = await bench.deliver_all(inventory.release, [*requests, *never_sent])
    assert [_code(answer) for answer in answers] == ["DONE"] * 30
    stock = await bench.row("stock")
    assert (stock["on_hand"], stock["reserved"]) == (10, 0)
    late = await bench.deliver_all(inventory.reserve, [*requests, *never_sent])
    assert {_code(answer) for answer in late} == {Code.STEP_UNDONE}
    await assert_invariants(bench)


async def test_a_list_of_more_rows_than_one_query_can_name_is_read_in_several(open_bench: OpenBench) -> None:
    bench = await open_bench("inventory")
    skus = [f"sku-{n}" for n in range(100)]
    await bench.deliver_all(inventory.set_stock, [shelf(sku, 1000) for sku in skus])
    # Refused for their first line, so that the test is about reading: 33,000 reservations that could be there.
    lines = dict.fromkeys(["plum", *skus[1:]], 1)
    requests = [reservation(f"order/{n}", **lines) for n in range(330)]
    with watched(bench) as seen:
        answers = await bench.deliver_all(inventory.reserve, requests)
    assert {_code(answer) for answer in answers} == {Code.UNKNOWN_SKU}
    assert seen.count("SELECT") == 2 + math.ceil(33_000 / KEYS_PER_QUERY)
