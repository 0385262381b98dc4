"""`stock` and `account`: what there is to sell, and who can pay."""

from __future__ import annotations

from typing import Annotated, TypeVar
from uuid import uuid4

import typer
from pydantic import BaseModel, ValidationError

from cli import session, show
from cli.session import Json
from contracts import inventory, payment
from contracts.errors import Code
from contracts.inventory import ListStock, SetStock, StockLevel
from contracts.message import as_written
from contracts.payment import Account, ListAccounts, SetAccount
from contracts.problems import first_problem
from runtime.commandline import CommandFailed, Exit
from runtime.execute import execute

stock = typer.Typer(help="The goods on the shelves.", no_args_is_help=False)
account = typer.Typer(help="The customers' accounts.", no_args_is_help=False)

M = TypeVar("M", bound=BaseModel)


@stock.command("list")
def list_stock(json: Json = False) -> int:
    """What is on the shelves, and how much of it is reserved."""

    async def command() -> int:
        levels = (await execute(await session.connect(), inventory.list_stock, ListStock())).levels
        _show_stock(levels) if not json else show.document(levels)
        return Exit.OK

    return session.run(command)


@stock.command("set")
def set_stock(sku: str, units: Annotated[int, typer.Argument(metavar="N")], json: Json = False) -> int:
    """Say how many units of SKU there are, the reserved ones included."""
    request = _valid(SetStock, transaction_id=f"set-{uuid4()}", sku=sku, on_hand=units)

    async def command() -> int:
        level = (await execute(await session.connect(), inventory.set_stock, request)).level
        _show_stock([level]) if not json else show.document(level)
        return Exit.OK

    return session.run(command)


@account.command("list")
def list_accounts(json: Json = False) -> int:
    """The balances, and how much of each is held for orders."""

    async def command() -> int:
        accounts = (await execute(await session.connect(), payment.list_accounts, ListAccounts())).accounts
        _show_accounts(accounts) if not json else show.document(accounts)
        return Exit.OK

    return session.run(command)


@account.command("set")
def set_account(
    customer: str,
    amount_minor: Annotated[int, typer.Argument(metavar="AMOUNT_MINOR", help="In minor units: 1299 is 12.99.")],
    currency: Annotated[str, typer.Option(help="ISO 4217; of a new account.")] = "EUR",
    json: Json = False,
) -> int:
    """Fill or empty an account, held money included."""
    request = _valid(
        SetAccount, transaction_id=f"set-{uuid4()}", customer_id=customer, balance_minor=amount_minor, currency=currency
    )

    async def command() -> int:
        filled = (await execute(await session.connect(), payment.set_account, request)).account
        _show_accounts([filled]) if not json else show.document(filled)
        return Exit.OK

    return session.run(command)


def _show_stock(levels: tuple[StockLevel, ...] | list[StockLevel]) -> None:
    rows = [(level.sku, level.on_hand, level.reserved, level.on_hand - level.reserved) for level in levels]
    show.table("stock", ["sku", "on hand", "reserved", "available"], rows)


def _show_accounts(accounts: tuple[Account, ...] | list[Account]) -> None:
    rows = [
        (a.customer_id, a.currency, a.balance_minor, a.held_minor, a.balance_minor - a.held_minor) for a in accounts
    ]
    show.table("accounts, in minor units", ["customer", "currency", "balance", "held", "available"], rows)


def _valid(model: type[M], **fields: object) -> M:
    try:
        return as_written(model, fields)
    except ValidationError as error:
        raise CommandFailed(Code.INVALID_REQUEST, first_problem(error), Exit.INVALID) from error
