"""A decision is a pure function of the rows and the request: it uses no clock, no randomness and no state."""

from datetime import UTC, datetime, timedelta

from activities.records import UnitOfWork
from contracts import inventory, payment
from contracts.message import LEASE

from .conftest import OpenHarness, on_sqlite
from .requests import balance, charge, reservation, stock_level
from .samples import sample_of
from .service_harness import Call, Operations, ServiceHarness, each_as, every_operation, handler_of

_LONG_AGO = datetime(2001, 2, 3, 4, 5, 6, tzinfo=UTC)


async def _rows(harness: ServiceHarness, operation: Operations, now: datetime = _LONG_AGO) -> UnitOfWork:
    """The unit of work of the operation's sample, in a transaction at the instant `now`."""
    rows, request = UnitOfWork(harness.definition.metadata, now), sample_of(operation).request
    await harness.database.transaction(lambda tx: rows.load(tx, handler_of(operation).touches(request)))
    return rows


@every_operation
@on_sqlite
async def test_a_decision_follows_from_the_rows_and_the_request_alone(
    open_harness: OpenHarness, operation: Operations
) -> None:
    harness, sample = await open_harness(operation.queue), sample_of(operation)
    await harness.accept(*sample.before)
    if operation.undoes is not None:
        await harness.accept(Call(operation.undoes, sample.request))
    rows, decide = await _rows(harness, operation), handler_of(operation).decide
    first, second = decide(rows, sample.request), decide(rows, sample.request)
    assert (first.reply, list(first.changed)) == (second.reply, list(second.changed))


@each_as("operation", [inventory.reserve, payment.authorize])
@on_sqlite
async def test_a_lease_is_counted_from_the_instant_of_the_transaction(
    open_harness: OpenHarness, operation: Operations
) -> None:
    harness, sample = await open_harness(operation.queue), sample_of(operation)
    await harness.accept(*sample.before)
    decision = handler_of(operation).decide(await _rows(harness, operation), sample.request)
    leases = [getattr(row, "lease_until", None) for row in decision.changed]
    assert [lease for lease in leases if lease is not None] == [_LONG_AGO + LEASE]


async def test_all_that_one_transaction_holds_is_held_from_one_instant(open_harness: OpenHarness) -> None:
    before = datetime.now(UTC)
    goods, money = await open_harness("inventory"), await open_harness("payment")
    await goods.accept(Call(inventory.set_stock, stock_level("apple", 9)))
    await money.accept(Call(payment.set_account, balance(100)))
    await goods.deliver_all(inventory.reserve, [reservation(f"order/{n}", apple=1) for n in range(5)])
    await money.deliver_all(payment.authorize, [charge(1, f"order/{n}") for n in range(5)])
    for harness, table in ((goods, "reservations"), (money, "payments")):
        [lease] = {row["lease_until"] for row in await harness.rows(table)}
        assert timedelta() <= lease - LEASE - before < timedelta(minutes=1)
