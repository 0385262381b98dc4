"""The stock and the accounts of a new embedded system, so that a first order can be placed at once."""

from typing import Protocol, TypeVar

from contracts import inventory, payment
from contracts.inventory import ListStock, SetStock
from contracts.payment import ListAccounts, SetAccount
from temporal_saga import Operation

Request = TypeVar("Request")
Reply = TypeVar("Reply")

PRICES_MINOR = {"BOOK-1": 1299, "BOOK-2": 2499, "PEN-1": 199, "LAMP-1": 4500}
"""Unit prices in EUR cents, for an order that names only skus."""
CUSTOMERS = tuple(f"c-{number}" for number in range(1, 11))
_UNITS = 1_000_000
_BALANCE_MINOR = 10**11


class Execute(Protocol):
    """Executes an operation of a service: through Temporal (`runtime.execute`), or within the worker."""

    async def __call__(self, operation: Operation[Request, Reply], request: Request) -> Reply: ...


async def seed(execute: Execute) -> None:
    """Create the stock and the accounts if there are none yet."""
    if not (await execute(inventory.list_stock, ListStock())).levels:
        for sku in PRICES_MINOR:
            request = SetStock(transaction_id=f"seed-{sku}", sku=sku, on_hand=_UNITS)
            await execute(inventory.set_stock, request)
    if not (await execute(payment.list_accounts, ListAccounts())).accounts:
        for customer in CUSTOMERS:
            opening = SetAccount(transaction_id=f"seed-{customer}", customer_id=customer, balance_minor=_BALANCE_MINOR)
            await execute(payment.set_account, opening)
