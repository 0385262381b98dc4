"""Calls that arrive while a transaction runs share the next one, and each gets its own answer."""

import asyncio
from collections.abc import Sequence

from activities.fence import RefusedDecision
from activities.group_commit import LARGEST_GROUP, GroupCommit
from contracts import payment
from contracts.errors import Code

from .conftest import OpenHarness
from .requests import balance, charge
from .service_harness import Call, watched


class Doubling:
    """A group commit of numbers, which doubles them; zero fails, and the database can be down."""

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
            raise ValueError("zero")
        return [2 * number for number in numbers]


async def test_what_comes_while_a_transaction_runs_shares_the_next() -> None:
    site = Doubling()
    assert await asyncio.gather(*(site.group.submit(number) for number in range(1, 1 + 3 * LARGEST_GROUP))) == [
        2 * number for number in range(1, 1 + 3 * LARGEST_GROUP)
    ]
    assert max(map(len, site.groups)) == LARGEST_GROUP
    assert len(site.groups) < 10


async def test_a_single_call_is_committed_at_once() -> None:
    site = Doubling()
    assert [await site.group.submit(number) for number in (1, 2, 3)] == [2, 4, 6]
    assert site.groups == [[1], [2], [3]]


async def test_a_request_that_fails_leaves_the_others_of_its_group_alone() -> None:
    site = Doubling()
    answers = await asyncio.gather(*(site.group.submit(number) for number in (1, 0, 2)), return_exceptions=True)
    assert answers[::2] == [2, 4]
    assert isinstance(answers[1], ValueError)


async def test_a_database_that_is_down_is_tried_once_for_all_calls() -> None:
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


async def test_a_database_that_goes_down_while_items_are_tried_alone_is_not_tried_for_each() -> None:
    site = Doubling()

    async def commit(numbers: Sequence[int]) -> list[int]:
        site.groups.append(list(numbers))
        await asyncio.sleep(0)
        raise ValueError("zero") if len(numbers) > 1 else OSError("down")

    group = GroupCommit(commit, is_shared=lambda error: isinstance(error, OSError))
    answers = await asyncio.gather(*(group.submit(number) for number in range(4)), return_exceptions=True)
    assert all(isinstance(answer, OSError) for answer in answers)
    assert site.groups == [[0, 1, 2, 3], [0]]


async def test_fifty_charges_at_once_are_a_few_transactions_and_fifty_answers(open_harness: OpenHarness) -> None:
    harness = await open_harness("payment")
    await harness.accept(Call(payment.set_account, balance(25)))
    with watched(harness) as seen:
        answers = await asyncio.gather(
            *(harness.deliver(payment.authorize, charge(1, f"order/{number}")) for number in range(50))
        )
    refused = [answer for answer in answers if isinstance(answer, RefusedDecision)]
    assert {answer.code for answer in refused} == {Code.INSUFFICIENT_FUNDS}
    assert len(refused) == 25
    assert seen.count("COMMIT") <= 3
    assert (await harness.row("accounts", customer_id="ada"))["held_minor"] == 25
