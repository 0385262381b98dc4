"""The rules of the payment service."""

import pytest
from sqlalchemy import text

from activities.database import reading
from audit import crossing, invariants
from contracts import payment
from contracts.errors import Code
from contracts.message import ListOpen, OpenTransactions
from contracts.payment import Accounts, Cancellation, PaymentState

from .conftest import OpenHarness
from .requests import balance, charge
from .service_harness import Call, Operations, ServiceHarness, assert_money_adds_up


@pytest.fixture
async def bank(open_harness: OpenHarness) -> ServiceHarness:
    """A service where Ada has 100 euros."""
    harness = await open_harness("payment")
    await harness.accept(Call(payment.set_account, balance(10_000)))
    return harness


async def _ada(bank: ServiceHarness) -> tuple[int, int]:
    """Ada's balance and held amount."""
    await assert_money_adds_up(bank)
    row = await bank.row("accounts", customer_id="ada")
    return row["balance_minor"], row["held_minor"]


async def test_a_customer_without_an_account_is_declined(bank: ServiceHarness) -> None:
    code, words = await bank.refuse(payment.authorize, charge(1, customer_id="bob"))
    assert (code, words) == (Code.PAYMENT_DECLINED, "customer bob has no account")
    assert await bank.rows("payments") == []


async def test_another_currency_than_the_account_s_is_declined(bank: ServiceHarness) -> None:
    code, words = await bank.refuse(payment.authorize, charge(1, currency="CHF"))
    assert (code, words) == (Code.PAYMENT_DECLINED, "the account is in EUR, not CHF")
    assert await _ada(bank) == (10_000, 0)


async def test_held_money_cannot_be_spent_twice(bank: ServiceHarness) -> None:
    await bank.accept(Call(payment.authorize, charge(6_000, "order/1")))
    assert (await bank.refuse(payment.authorize, charge(4_001, "order/2")))[0] == Code.INSUFFICIENT_FUNDS
    await bank.accept(Call(payment.authorize, charge(4_000, "order/3")))
    assert await _ada(bank) == (10_000, 10_000)


async def test_the_words_of_a_refusal_do_not_tell_the_balance(bank: ServiceHarness) -> None:
    _, words = await bank.refuse(payment.authorize, charge(10_001))
    assert "10000" not in words


async def test_capture_takes_the_held_money(bank: ServiceHarness) -> None:
    await bank.accept(Call(payment.authorize, charge(1_999)), Call(payment.capture, charge(1_999)))
    assert await _ada(bank) == (8_001, 0)
    assert (await bank.row("payments"))["state"] == PaymentState.CAPTURED


async def test_cancel_before_capture_releases_the_hold(bank: ServiceHarness) -> None:
    _, reply = await bank.accept(Call(payment.authorize, charge(1_999)), Call(payment.cancel, charge(1_999)))
    assert reply == Cancellation(released_minor=1_999)
    assert await _ada(bank) == (10_000, 0)
    assert (await bank.row("payments"))["state"] == PaymentState.CANCELLED


async def test_refund_leaves_money_that_is_only_held_to_cancel(bank: ServiceHarness) -> None:
    _, reply = await bank.accept(Call(payment.authorize, charge(1_999)), Call(payment.refund, charge(1_999)))
    assert reply == Cancellation()
    assert await _ada(bank) == (10_000, 1_999)
    await bank.accept(Call(payment.cancel, charge(1_999)))
    assert await _ada(bank) == (10_000, 0)


@pytest.mark.parametrize("undos", [(payment.refund, payment.cancel), (payment.cancel, payment.refund)])
async def test_refund_and_cancel_give_money_back_once_between_them(
    bank: ServiceHarness, undos: tuple[Operations, ...]
) -> None:
    steps: list[Operations] = [payment.authorize, payment.capture, *undos]
    replies = await bank.accept(*(Call(step, charge(1_999)) for step in steps))
    assert replies[-2:] == [Cancellation(refunded_minor=1_999), Cancellation()]
    assert await _ada(bank) == (10_000, 0)
    assert (await bank.row("payments"))["state"] == PaymentState.REFUNDED


async def test_an_account_can_be_filled_and_emptied_down_to_what_is_held(bank: ServiceHarness) -> None:
    await bank.accept(Call(payment.authorize, charge(1_999)))
    code, words = await bank.refuse(payment.set_account, balance(1_998))
    assert (code, words) == (Code.INVALID_REQUEST, "1999 minor units are held: the balance cannot be less")
    await bank.accept(Call(payment.set_account, balance(1_999)))
    assert await _ada(bank) == (1_999, 1_999)


async def test_filling_an_account_after_sales_keeps_the_books_right(bank: ServiceHarness) -> None:
    await bank.accept(Call(payment.authorize, charge(1_999)), Call(payment.capture, charge(1_999)))
    await bank.accept(Call(payment.set_account, balance(20_000)))
    assert await _ada(bank) == (20_000, 0)
    assert (await bank.row("accounts"))["deposited_minor"] == 21_999


async def test_the_currency_of_an_account_stays(bank: ServiceHarness) -> None:
    assert (await bank.refuse(payment.set_account, balance(5, currency="CHF")))[0] == Code.INVALID_REQUEST
    assert (await bank.row("accounts"))["currency"] == "EUR"


async def test_an_order_for_nothing_is_authorized_and_captured(bank: ServiceHarness) -> None:
    await bank.accept(Call(payment.authorize, charge(0)), Call(payment.capture, charge(0)))
    assert await _ada(bank) == (10_000, 0)
    assert (await bank.row("payments"))["state"] == PaymentState.CAPTURED


async def _spoil(bank: ServiceHarness, statement: str) -> None:
    await bank.database.transaction(lambda tx: tx.execute(text(statement)))


async def test_one_account_that_cannot_be_right_is_listed_as_it_is_among_the_others(bank: ServiceHarness) -> None:
    await bank.accept(Call(payment.set_account, balance(7, "zoe")))
    await _spoil(
        bank, "UPDATE accounts SET balance_minor = -5000, held_minor = -10000, currency = '?' WHERE customer_id = 'ada'"
    )
    await _spoil(bank, "UPDATE accounts SET customer_id = 'not an id' WHERE customer_id = 'zoe'")
    accounts = await bank.execute(payment.list_accounts, payment.ListAccounts())
    as_read = Accounts.model_validate_json(accounts.model_dump_json())
    assert [(each.customer_id, each.currency, each.balance_minor, each.held_minor) for each in as_read.accounts] == [
        ("ada", "?", -5_000, -10_000),
        ("not an id", "EUR", 7, 0),
    ]


async def test_the_audit_names_the_one_account_that_cannot_be_right(bank: ServiceHarness) -> None:
    await bank.accept(Call(payment.set_account, balance(7, "zoe")), Call(payment.authorize, charge(1)))
    await _spoil(bank, "UPDATE accounts SET balance_minor = -5000 WHERE customer_id = 'ada'")
    await _spoil(bank, "UPDATE payments SET state = 'OF A NEWER BUILD'")
    async with reading(bank.url) as connection:
        [violation] = await invariants.money(connection)
    assert (violation.subject, violation.figures["balance_minor"]) == ("ada", -5_000)


async def test_the_audit_misses_an_account_from_which_money_was_taken_or_is_held(bank: ServiceHarness) -> None:
    await bank.accept(Call(payment.authorize, charge(3)))
    await _spoil(bank, "DELETE FROM accounts")
    async with reading(bank.url) as connection:
        [violation] = await invariants.money(connection)
    assert violation.subject == "ada"
    assert violation.figures == {
        "deposited_minor": None,
        "balance_minor": None,
        "held_minor": None,
        "authorized": 3,
        "captured": 0,
    }


async def test_the_audit_names_the_order_of_which_an_operation_took_effect_twice(bank: ServiceHarness) -> None:
    await bank.accept(Call(payment.authorize, charge(3, "order/o-1")))
    again = "INSERT INTO effects (transaction_id, operation, at) SELECT transaction_id, operation, at FROM effects"
    await _spoil(bank, f"{again} WHERE operation LIKE '%authorize'")
    async with reading(bank.url) as connection:
        [violation] = await invariants.single_effect(connection, "payment")
    assert violation.subject == "o-1"
    assert violation.figures == {"operation": payment.authorize.name, "times": 2}


async def test_the_audit_reads_a_state_that_this_build_does_not_know(bank: ServiceHarness) -> None:
    await bank.accept(Call(payment.authorize, charge(3, "order/1")), Call(payment.authorize, charge(3, "order/2")))
    await _spoil(bank, "UPDATE payments SET state = 'SPOILT' WHERE transaction_id = 'order/1'")
    async with reading(bank.url) as connection:
        states = await crossing.read_states(connection, "payment")
    assert states == {"order/1": {"SPOILT"}, "order/2": {PaymentState.AUTHORIZED}}


async def test_one_payment_that_cannot_be_right_is_listed_as_open_among_the_others(bank: ServiceHarness) -> None:
    await bank.accept(*(Call(payment.authorize, charge(1, f"order/{n}")) for n in range(2)))
    await _spoil(bank, "UPDATE payments SET transaction_id = 'not an id' WHERE transaction_id = 'order/1'")
    found = await bank.execute(payment.list_open, ListOpen())
    assert OpenTransactions.model_validate_json(found.model_dump_json()).transaction_ids == ("not an id", "order/0")
