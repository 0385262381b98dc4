"""The payment service: accounts with balances, and for each transaction a payment that moves through its states.

It simulates a card network with real state. Held money cannot be spent twice, and money is neither created nor lost:
for each account, `deposited` = `balance` + captured - refunded, and `held` = the sum of its authorized payments. What
retired transactions have captured is in `CARRIED`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from sqlalchemy import Connection, MetaData, func, select

from activities.definition import Leaves, Query, ServiceDefinition, implements, lists_open, readable
from activities.fence import Decision, RefusedDecision, declare_fence
from activities.records import Record, Ref, UnitOfWork, effects_table, record
from activities.retention import carried_forward, carry
from contracts import payment
from contracts.errors import Code
from contracts.message import LEASE, ListOpen
from contracts.payment import (
    Accounts,
    AccountSet,
    Authorization,
    AuthorizePayment,
    Cancellation,
    ExpiredPayments,
    ListAccounts,
    PaymentState,
    Receipt,
    SetAccount,
)

metadata = MetaData()
Fence = declare_fence(metadata)
effects_table(metadata)


@record(metadata, "accounts", key=("customer_id",))
@dataclass(frozen=True)
class Account(Record):
    customer_id: str
    currency: str
    deposited_minor: int
    """All money ever paid in, less what was paid out."""
    balance_minor: int
    """The money in the account, the held part included."""
    held_minor: int

    @property
    def available_minor(self) -> int:
        return self.balance_minor - self.held_minor


@record(metadata, "payments", key=("transaction_id",))
@dataclass(frozen=True)
class Payment(Record):
    transaction_id: str
    order_id: str
    customer_id: str
    amount_minor: int
    currency: str
    state: PaymentState
    lease_until: datetime


CARRIED = carried_forward(metadata, "customer_id", "captured_minor")


def _rows_of(request: AuthorizePayment) -> Iterable[Ref]:
    return [Ref(Account, (request.customer_id,)), Ref(Payment, (request.transaction_id,))]


@implements(payment.authorize, touches=_rows_of)
def authorize(uow: UnitOfWork, request: AuthorizePayment) -> Decision[Authorization]:
    account = uow.get(Account, request.customer_id)
    if account is None:
        raise RefusedDecision(Code.PAYMENT_DECLINED, f"customer {request.customer_id} has no account")
    if account.currency != request.currency:
        raise RefusedDecision(Code.PAYMENT_DECLINED, f"the account is in {account.currency}, not {request.currency}")
    if account.available_minor < request.amount_minor:
        raise RefusedDecision(
            Code.INSUFFICIENT_FUNDS, f"{request.amount_minor} {request.currency} minor units are not available"
        )
    held = replace(account, held_minor=account.held_minor + request.amount_minor)
    hold = Payment(
        transaction_id=request.transaction_id,
        order_id=request.order_id,
        customer_id=request.customer_id,
        amount_minor=request.amount_minor,
        currency=request.currency,
        state=PaymentState.AUTHORIZED,
        lease_until=uow.now + LEASE,
    )
    return Decision(Authorization(amount_minor=hold.amount_minor, currency=hold.currency), [held, hold])


@implements(payment.cancel, touches=_rows_of)
def cancel(uow: UnitOfWork, request: AuthorizePayment) -> Decision[Cancellation]:
    """Release the hold; if the money was captured already, refund it."""
    account, held = uow.get(Account, request.customer_id), uow.get(Payment, request.transaction_id)
    if account is None or held is None or held.state is not PaymentState.AUTHORIZED:
        return _refunded(account, held)
    account = replace(account, held_minor=account.held_minor - held.amount_minor)
    released = Cancellation(released_minor=held.amount_minor)
    return Decision(released, [account, replace(held, state=PaymentState.CANCELLED)])


@implements(payment.capture, touches=_rows_of)
def capture(uow: UnitOfWork, request: AuthorizePayment) -> Decision[Receipt]:
    account, hold = uow.get(Account, request.customer_id), uow.get(Payment, request.transaction_id)
    if account is None or hold is None or hold.state is not PaymentState.AUTHORIZED:
        raise RefusedDecision(Code.NOTHING_TO_ACT_ON, f"no authorized payment for {request.transaction_id}")
    charged = replace(
        account,
        balance_minor=account.balance_minor - hold.amount_minor,
        held_minor=account.held_minor - hold.amount_minor,
    )
    return Decision(Receipt(captured_minor=hold.amount_minor), [charged, replace(hold, state=PaymentState.CAPTURED)])


@implements(payment.refund, touches=_rows_of)
def refund(uow: UnitOfWork, request: AuthorizePayment) -> Decision[Cancellation]:
    """Refund captured money, as the undo of a capture. Held money is left for `cancel` to release."""
    return _refunded(uow.get(Account, request.customer_id), uow.get(Payment, request.transaction_id))


def _refunded(account: Account | None, taken: Payment | None) -> Decision[Cancellation]:
    if account is None or taken is None or taken.state is not PaymentState.CAPTURED:
        return Decision(Cancellation())
    account = replace(account, balance_minor=account.balance_minor + taken.amount_minor)
    refunded = Cancellation(refunded_minor=taken.amount_minor)
    return Decision(refunded, [account, replace(taken, state=PaymentState.REFUNDED)])


@implements(payment.set_account, touches=lambda request: [Ref(Account, (request.customer_id,))])
def set_account(uow: UnitOfWork, request: SetAccount) -> Decision[AccountSet]:
    account = uow.get(Account, request.customer_id)
    if account is None:
        account = Account(request.customer_id, request.currency, 0, 0, 0)
    if account.currency != request.currency:
        raise RefusedDecision(Code.INVALID_REQUEST, f"the account of {account.customer_id} is in {account.currency}")
    if request.balance_minor < account.held_minor:
        raise RefusedDecision(
            Code.INVALID_REQUEST, f"{account.held_minor} minor units are held: the balance cannot be less"
        )
    paid_in = request.balance_minor - account.balance_minor
    account = replace(account, balance_minor=request.balance_minor, deposited_minor=account.deposited_minor + paid_in)
    return Decision(AccountSet(account=_view(account)), [account])


def _list_expired(connection: Connection, question: ListOpen) -> ExpiredPayments:
    columns = Payment.table.c
    expired = (columns.state == PaymentState.AUTHORIZED) & (columns.lease_until < datetime.now(UTC))
    wanted = select(*(columns[name] for name in AuthorizePayment.model_fields))
    wanted = wanted.where(expired & (columns.transaction_id > question.after))
    found = connection.execute(wanted.order_by(columns.transaction_id).limit(question.limit))
    requests, unreadable = readable(
        found.mappings(), lambda row: str(row["transaction_id"]), lambda row: AuthorizePayment(**row)
    )
    return ExpiredPayments(requests=requests, unreadable=unreadable)


def _list_accounts(connection: Connection, _: ListAccounts) -> Accounts:
    found = connection.execute(select(Account.table).order_by(Account.table.c.customer_id))
    return Accounts(accounts=tuple(_view(Account(**row)) for row in found.mappings()))


def _carry(connection: Connection, transaction_ids: Sequence[str]) -> None:
    columns = Payment.table.c
    captured = columns.transaction_id.in_(transaction_ids) & (columns.state == PaymentState.CAPTURED)
    amounts = select(columns.customer_id, func.sum(columns.amount_minor)).where(captured)
    carry(connection, CARRIED, amounts.group_by(columns.customer_id))


def _view(account: Account) -> payment.Account:
    return payment.Account(
        customer_id=account.customer_id,
        currency=account.currency,
        balance_minor=account.balance_minor,
        held_minor=account.held_minor,
    )


PAYMENT = ServiceDefinition(
    "payment",
    metadata,
    Fence,
    [authorize, cancel, capture, refund, set_account],
    [
        Query(payment.list_accounts, _list_accounts),
        lists_open(payment.list_open, Payment, PaymentState.AUTHORIZED),
        Query(payment.list_expired, _list_expired),
    ],
    holds={Payment: frozenset({PaymentState.AUTHORIZED})},
    leaves=Leaves(
        Payment,
        frozenset({PaymentState.CAPTURED}),
        frozenset({PaymentState.CANCELLED, PaymentState.REFUNDED}),
        joined_later=False,
    ),
    carry=_carry,
)
