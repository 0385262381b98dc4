"""`stock` and `account`: the goods on the shelves and the customers' balances."""

from collections.abc import Callable, Sequence
from typing import Annotated, TypeVar
from uuid import uuid4

import typer
from pydantic import BaseModel, ValidationError

from cli import session, show
from cli.session import Json, Yes
from contracts import inventory, payment
from contracts.errors import Code
from contracts.inventory import ListStock, SetStock, StockLevel
from contracts.message import as_written
from contracts.payment import Account, ListAccounts, SetAccount
from contracts.problems import first_problem
from runtime.commandline import CommandFailed, Exit
from runtime.execute import execute
from temporal_saga import Operation

stock = typer.Typer(help="The goods on the shelves.", no_args_is_help=False)
account = typer.Typer(help="The customers' accounts.", no_args_is_help=False)

M = TypeVar("M", bound=BaseModel)
Request = TypeVar("Request")
Reply = TypeVar("Reply")
T = TypeVar("T")


@stock.command("list")
def list_stock(json: Json = False) -> int:
    """What is on the shelves, and how much of it is reserved."""
    levels = _ask(inventory.list_stock, ListStock()).levels
    return _shown(levels, _show_stock, json=json)


@stock.command("set")
def set_stock(
    sku: str, units: Annotated[int, typer.Argument(metavar="N")], yes: Yes = False, json: Json = False
) -> int:
    """Say how many units of SKU there are, the reserved ones included.

    Asks first if that is less than half of what there was, or less than what is reserved.
    """
    request = _valid(SetStock, transaction_id=f"set-{uuid4()}", sku=sku, on_hand=units)
    if not yes:
        there = {each.sku: each for each in _ask(inventory.list_stock, ListStock()).levels}.get(sku)
        if there is not None:
            _ask_before_a_fall(sku, there.on_hand, "on hand", there.reserved, "reserved", units)
    level = _ask(inventory.set_stock, request).level
    return _shown(level, lambda one: _show_stock([one]), json=json)


def _ask_before_a_fall(name: str, there: int, of: str, bound: int, by: str, wanted: int) -> None:
    """Ask whether to go on, if `wanted` is less than half of what is `there`, or than what is `bound` to orders."""
    if 2 * wanted < there or wanted < bound:
        session.require_yes(f"{name} has {there} {of} and {bound} {by}, and {wanted} is far less", yes=False)


@account.command("list")
def list_accounts(json: Json = False) -> int:
    """The balances, and how much of each is held for orders."""
    accounts = _ask(payment.list_accounts, ListAccounts()).accounts
    return _shown(accounts, _show_accounts, json=json)


@account.command("set")
def set_account(
    customer: str,
    amount_minor: Annotated[int, typer.Argument(metavar="AMOUNT_MINOR", help="In minor units: 1299 is 12.99.")],
    currency: Annotated[str, typer.Option(help="ISO 4217; of a new account.")] = "EUR",
    yes: Yes = False,
    json: Json = False,
) -> int:
    """Fill or empty an account, held money included.

    Asks first if that is less than half of what there was, or less than what is held.
    """
    request = _valid(
        SetAccount, transaction_id=f"set-{uuid4()}", customer_id=customer, balance_minor=amount_minor, currency=currency
    )
    if not yes:
        there = {each.customer_id: each for each in _ask(payment.list_accounts, ListAccounts()).accounts}.get(customer)
        if there is not None:
            _ask_before_a_fall(customer, there.balance_minor, "minor units", there.held_minor, "held", amount_minor)
    filled = _ask(payment.set_account, request).account
    return _shown(filled, lambda one: _show_accounts([one]), json=json)


def _ask(operation: Operation[Request, Reply], request: Request) -> Reply:
    return session.run(lambda client: execute(client, operation, request))


def _shown(value: T, people: Callable[[T], None], *, json: bool) -> int:
    show.result(value, people, json=json)
    return Exit.OK


def _show_stock(levels: Sequence[StockLevel]) -> None:
    rows = [(level.sku, level.on_hand, level.reserved, level.on_hand - level.reserved) for level in levels]
    show.table("stock", ["sku", "on hand", "reserved", "available"], rows)


def _show_accounts(accounts: Sequence[Account]) -> None:
    rows = [
        (a.customer_id, a.currency, a.balance_minor, a.held_minor, a.balance_minor - a.held_minor) for a in accounts
    ]
    show.table("accounts, in minor units", ["customer", "currency", "balance", "held", "available"], rows)


def _valid(model: type[M], **fields: object) -> M:
    try:
        return as_written(model, fields)
    except ValidationError as error:
        raise CommandFailed(Code.INVALID_REQUEST, first_problem(error), Exit.INVALID) from error
