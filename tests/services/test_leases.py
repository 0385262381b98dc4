"""What the end of a lease undoes is asked for anew from the rows. It must be the request that made them, in each
field: the fence takes any other for a conflict, and what is held stays held."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from activities.fence import Refusal
from contracts import inventory, payment
from contracts.message import ListOpen

from .bench import Call, Operations, assert_invariants
from .changes import changed
from .conftest import OpenBench
from .requests import purse, shelf
from .samples import SAMPLES

_LEASED: tuple[tuple[Operations, Operations, str], ...] = (
    (payment.cancel, payment.list_expired, "payments"),
    (inventory.release, inventory.list_expired, "reservations"),
)
_ELSEWHERE = (
    Call(payment.set_account, purse(500_000, "bob")),
    Call(inventory.set_stock, shelf("pear", 500)),
)


@pytest.mark.parametrize(("undo", "list_expired", "table"), _LEASED, ids=["payment", "inventory"])
async def test_what_is_listed_as_expired_is_the_request_that_made_it(
    open_bench: OpenBench, undo: Operations, list_expired: Operations, table: str
) -> None:
    """For the sample and all that differ from it in one place, so that a field without a column is noticed."""
    bench, sample = await open_bench(undo.queue), SAMPLES[undo.step]
    await bench.accept(*(call for call in _ELSEWHERE if call.operation.queue == undo.queue), *sample.before)
    variants = [sample.request, *(other for others in changed(sample.request).values() for other in others)]
    requests = [each.model_copy(update={"transaction_id": f"t-{n:03}"}) for n, each in enumerate(variants)]
    answers = await bench.deliver_all(sample.operation, requests)
    made = [each for each, answer in zip(requests, answers, strict=True) if not isinstance(answer, Refusal)]
    assert len(made) > len(changed(sample.request)) / 2
    await bench.database.transaction(
        lambda tx: tx.execute(text(f"UPDATE {table} SET lease_until = '2001-01-01 00:00:00'"))  # noqa: S608 — a name of ours
    )
    expired = await bench.execute(list_expired, ListOpen())
    assert isinstance(expired, payment.ExpiredPayments | inventory.ExpiredReservations)
    assert list(expired.requests) == made
    for request in expired.requests:
        await bench.accept(Call(undo, request))
    assert await bench.effects(requests[0].transaction_id) == [sample.operation.name, undo.name]
    assert (await bench.execute(list_expired, ListOpen())).model_dump()["requests"] == ()
    await assert_invariants(bench)
