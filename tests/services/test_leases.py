"""The end of a lease undoes a hold with a request that is made from its rows. It must equal the original request in
each field: the fence takes any other for a conflict, and the hold would stay."""

import pytest
from sqlalchemy import text

from activities.fence import RefusedDecision
from contracts import inventory, payment
from contracts.message import ListOpen

from .conftest import OpenHarness
from .requests import balance, stock_level
from .samples import sample_of
from .service_harness import Call, Operations, assert_invariants
from .variants import variants_of

_LEASED: tuple[tuple[Operations, Operations, str], ...] = (
    (payment.cancel, payment.list_expired, "payments"),
    (inventory.release, inventory.list_expired, "reservations"),
)
_ELSEWHERE = (Call(payment.set_account, balance(500_000, "bob")), Call(inventory.set_stock, stock_level("pear", 500)))


@pytest.mark.parametrize(("undo", "list_expired", "table"), _LEASED, ids=["payment", "inventory"])
async def test_what_is_listed_as_expired_is_the_request_that_made_it(
    open_harness: OpenHarness, undo: Operations, list_expired: Operations, table: str
) -> None:
    """The sample and its variants are tried, so that a field without a column is noticed."""
    harness, sample = await open_harness(undo.queue), sample_of(undo)
    await harness.accept(*(call for call in _ELSEWHERE if call.operation.queue == undo.queue), *sample.before)
    variants = [sample.request, *(other for others in variants_of(sample.request).values() for other in others)]
    requests = [each.model_copy(update={"transaction_id": f"t-{n:03}"}) for n, each in enumerate(variants)]
    answers = await harness.deliver_all(sample.operation, requests)
    made = [each for each, answer in zip(requests, answers, strict=True) if not isinstance(answer, RefusedDecision)]
    assert len(made) > len(variants_of(sample.request)) / 2
    await harness.database.transaction(
        lambda tx: tx.execute(text(f"UPDATE {table} SET lease_until = '2001-01-01 00:00:00'"))  # noqa: S608 — a name of ours
    )
    expired = await harness.execute(list_expired, ListOpen())
    assert isinstance(expired, payment.ExpiredPayments | inventory.ExpiredReservations)
    assert list(expired.requests) == made
    for request in expired.requests:
        await harness.accept(Call(undo, request))
    assert await harness.effects(requests[0].transaction_id) == [sample.operation.name, undo.name]
    assert (await harness.execute(list_expired, ListOpen())).model_dump()["requests"] == ()
    await assert_invariants(harness)
