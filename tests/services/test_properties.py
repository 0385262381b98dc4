"""Random requests in any order and repeated: the invariants hold, and a batch has the effect of single requests."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from activities.fence import RefusedDecision
from contracts import inventory, payment
from contracts.message import Reply, Request

from .databases import SqliteFiles
from .requests import balance, charge, reservation, stock_level
from .service_harness import Operations, ServiceHarness, assert_invariants

pytestmark = pytest.mark.slow

Delivery = tuple[Operations, list[Request]]
"""An operation and a batch of requests."""

_GOODS = [
    # The first two share a key: the second to arrive is an IDEMPOTENCY_CONFLICT.
    reservation("order/1", apple=1),
    reservation("order/1", apple=2, pear=1),
    reservation("order/2", pear=2, apple=3),
    reservation("order/3", plum=1),
]
_SHELVES = [stock_level("apple", 0), stock_level("apple", 4), stock_level("pear", 3), stock_level("pear", 9)]
_CHARGES = [charge(40, "order/1"), charge(70, "order/1", "bob"), charge(70, "order/2"), charge(30, "order/3", "bob")]
_PURSES = [balance(0), balance(100), balance(100, "bob"), balance(60, "bob")]


def _deliveries(steps: Sequence[Operations], requests: Sequence[Request], filled: Delivery) -> st.SearchStrategy[Any]:
    """Up to eight batches of up to four forwards, undos and finishes in any order, with the stock set in between."""
    step = st.tuples(st.sampled_from(steps), st.lists(st.sampled_from(requests), min_size=1, max_size=4))
    fill = st.tuples(st.just(filled[0]), st.lists(st.sampled_from(filled[1]), min_size=1, max_size=2))
    return st.lists(st.one_of(step, step, fill), max_size=8)


_goods = _deliveries(
    [inventory.reserve, inventory.commit, inventory.release], _GOODS, (inventory.set_stock, [*_SHELVES])
)
_money = _deliveries(
    [payment.authorize, payment.capture, payment.cancel, payment.refund], _CHARGES, (payment.set_account, [*_PURSES])
)


@pytest.fixture(scope="module")
def files(sqlite_templates: Path, tmp_path_factory: pytest.TempPathFactory) -> SqliteFiles:
    return SqliteFiles(tmp_path_factory.mktemp("properties"), sqlite_templates)


few_and_the_same_each_run = settings(max_examples=20, derandomize=True, deadline=None)


@few_and_the_same_each_run
@given(deliveries=_goods)
def test_goods_add_up_whatever_arrives(files: SqliteFiles, deliveries: list[Delivery]) -> None:
    first: Delivery = (inventory.set_stock, [stock_level("apple", 3), stock_level("pear", 2)])
    asyncio.run(_assert_books_add_up(files, "inventory", [first, *deliveries]))


@few_and_the_same_each_run
@given(deliveries=_money)
def test_money_adds_up_whatever_arrives(files: SqliteFiles, deliveries: list[Delivery]) -> None:
    first: Delivery = (payment.set_account, [balance(99), balance(99, "bob")])
    asyncio.run(_assert_books_add_up(files, "payment", [first, *deliveries]))


async def _assert_books_add_up(files: SqliteFiles, service: str, deliveries: list[Delivery]) -> None:
    """Deliver batches to one harness and single requests to another: both end valid and equal."""
    in_lists = ServiceHarness(service, await files.migrated(service))
    one_by_one = ServiceHarness(service, await files.migrated(service))
    for operation, requests in deliveries:
        together = await in_lists.deliver_all(operation, requests)
        apart = [await one_by_one.deliver(operation, request) for request in requests]
        assert [_outcome(answer) for answer in together] == [_outcome(answer) for answer in apart]
        await assert_invariants(in_lists)
    await assert_invariants(one_by_one)
    assert await _books(in_lists) == await _books(one_by_one)
    await in_lists.database.dispose()
    await one_by_one.database.dispose()


def _outcome(answer: Reply | RefusedDecision) -> object:
    if isinstance(answer, RefusedDecision):
        return answer.code, answer.message
    # A row written twice in one transaction gets one new version, in two transactions two.
    return answer.model_dump(exclude={"level": {"version"}})


async def _books(harness: ServiceHarness) -> dict[str, list[dict[str, Any]]]:
    """Every business table, without the columns that depend on the time or on the number of transactions."""
    incidental = {"version", "lease_until"}
    return {
        table: [{name: value for name, value in row.items() if name not in incidental} for row in rows]
        for table, rows in (await harness.business()).items()
    }
