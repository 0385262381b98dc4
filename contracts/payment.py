"""The operations of the payment service: authorize a payment, capture it, cancel or refund it."""

from enum import StrEnum

from pydantic import StrictInt

from contracts.message import (
    AmountMinor,
    Currency,
    Expired,
    Id,
    Lease,
    ListOpen,
    Message,
    OpenTransactions,
    Reply,
    Request,
)
from temporal_saga import Operation

QUEUE = "payment"


class PaymentState(StrEnum):
    AUTHORIZED = "AUTHORIZED"
    CAPTURED = "CAPTURED"
    CANCELLED = "CANCELLED"
    REFUNDED = "REFUNDED"


class AuthorizePayment(Request):
    order_id: Id
    customer_id: Id
    amount_minor: AmountMinor
    currency: Currency


class Authorization(Reply):
    amount_minor: AmountMinor
    currency: Currency


class Cancellation(Reply):
    """The money given back: a hold that was released, or a captured amount that was refunded."""

    released_minor: AmountMinor = 0
    refunded_minor: AmountMinor = 0


class Receipt(Reply):
    captured_minor: AmountMinor


class SetAccount(Request):
    """Set the balance of an account by a deposit or a withdrawal; held money stays held."""

    customer_id: Id
    balance_minor: AmountMinor
    currency: Currency = "EUR"


class Account(Message):
    """The account on record, shown unchanged: only requests are bounded, so that a wrong row can be listed too."""

    customer_id: str
    currency: str
    balance_minor: StrictInt
    held_minor: StrictInt


class AccountSet(Reply):
    account: Account


class ExpiredPayments(Expired):
    requests: tuple[AuthorizePayment, ...]


class ListAccounts(Message):
    pass


class Accounts(Reply):
    accounts: tuple[Account, ...]


authorize = Operation("payment.authorize", AuthorizePayment, Authorization, queue=QUEUE)
cancel = Operation("payment.cancel", AuthorizePayment, Cancellation, queue=QUEUE, undoes=authorize)
capture = Operation("payment.capture", AuthorizePayment, Receipt, queue=QUEUE, acts_on=authorize)
refund = Operation("payment.refund", AuthorizePayment, Cancellation, queue=QUEUE, undoes=capture)
set_account = Operation("payment.set_account", SetAccount, AccountSet, queue=QUEUE)
list_accounts = Operation("payment.list_accounts", ListAccounts, Accounts, queue=QUEUE)
list_open = Operation("payment.list_open", ListOpen, OpenTransactions, queue=QUEUE)
list_expired = Operation("payment.list_expired", ListOpen, ExpiredPayments, queue=QUEUE)
lease = Lease(list_expired, undo=cancel)
