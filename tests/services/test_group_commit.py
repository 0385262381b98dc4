"""Requests of one busy moment share a transaction, and nothing else: each gets its own answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from activities.fence import Refusal
from activities.group_commit import LARGEST_GROUP, GroupCommit
from contracts import payment
from contracts.errors import Code

from .bench import Call
from .conftest import OpenBench
from .requests import charge, purse
from .test_lists import watched


class Doubling:
    """Commits numbers by doubling them; zero is poison, and the database can be down."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.down = False
        self.group = GroupCommit(self.commit, is_shared=lambda error: isinstance(error, OSError))

    async def commit(self, numbers: Sequence[int]) -> list[int]:
        self.groups.append(list(numbers))
        await asyncio.sleep(0)
        if self.down:
            raise OSError("down")
        if 0 in numbers:
            raise ValueError("poison")
        return [2 * number for number in numbers]


async def test_what_comes_while_a_transaction_runs_shares_the_next() -> None:
    site = Doubling()
    assert await asyncio.gather(*(site.group.submit(number) for number in range(1, 1 + 3 * LARGEST_GROUP))) == [
        2 * number for number in range(1, 1 + 3 * LARGEST_GROUP)
    ]
    assert max(map(len, site.groups)) == LARGEST_GROUP
    assert len(site.groups) < 10


async def test_whoever_is_alone_waits_for_nobody() -> None:
    site = Doubling()
    assert [await site.group.submit(number) for number in (1, 2, 3)] == [2, 4, 6]
    assert site.groups == [[1], [2], [3]]


async def test_a_poisoned_request_takes_no_other_along() -> None:
    site = Doubling()
    answers = await asyncio.gather(*(site.group.submit(number) for number in (1, 0, 2)), return_exceptions=True)
    assert answers[::2] == [2, 4]
    assert isinstance(answers[1], ValueError)


async def test_a_database_that_is_down_is_asked_once_for_all() -> None:
    site = Doubling()
    site.down = True
    answers = await asyncio.gather(*(site.group.submit(number) for number in (1, 2, 3)), return_exceptions=True)
    assert all(isinstance(answer, OSError) for answer in answers)
    assert site.groups == [[1, 2, 3]]
    site.down = False
    assert await site.group.submit(4) == 8


async def test_a_caller_that_stops_waiting_before_its_group_is_formed_leaves_the_queue() -> None:
    site = Doubling()
    impatient, patient = asyncio.create_task(site.group.submit(1)), asyncio.create_task(site.group.submit(2))
    await asyncio.sleep(0)
    impatient.cancel()
    assert await patient == 4
    assert site.groups == [[2]]


async def test_a_caller_that_stops_waiting_later_stops_nothing_else() -> None:
    site = Doubling()
    impatient, patient = asyncio.create_task(site.group.submit(1)), asyncio.create_task(site.group.submit(2))
    while not site.groups:
        await asyncio.sleep(0)
    impatient.cancel()
    assert await patient == 4
    assert site.groups == [[1, 2]]


async def test_a_database_that_goes_down_while_items_are_tried_alone_is_not_asked_for_each() -> None:
    site = Doubling()

    async def commit(numbers: Sequence[int]) -> list[int]:
        site.groups.append(list(numbers))
        await asyncio.sleep(0)
        raise ValueError("poison") if len(numbers) > 1 else OSError("down")

    group = GroupCommit(commit, is_shared=lambda error: isinstance(error, OSError))
    answers = await asyncio.gather(*(group.submit(number) for number in range(4)), return_exceptions=True)
    assert all(isinstance(answer, OSError) for answer in answers)
    assert site.groups == [[0, 1, 2, 3], [0]]


async def test_fifty_charges_at_once_are_a_few_transactions_and_fifty_answers(open_bench: OpenBench) -> None:
    bench = await open_bench("payment")
    await bench.accept(Call(payment.set_account, purse(25)))
    with watched(bench) as seen:
        answers = await asyncio.gather(
            *(bench.deliver(payment.authorize, charge(1, f"order/{number}")) for number in range(50))
        )
    refused = [answer for answer in answers if isinstance(answer, Refusal)]
    assert {answer.code for answer in refused} == {Code.INSUFFICIENT_FUNDS}
    assert len(refused) == 25
    assert seen.count("COMMIT") <= 3
    assert (await bench.row("accounts", customer_id="ada"))["held_minor"] == 25
