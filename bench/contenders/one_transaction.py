"""One database, one transaction: the order process where nobody has cut it into five services.

All tables are in one SQLite file, and an order is one local transaction with the checks and rows of the five services:
authorize and capture are one debit, reserve and commit one withdrawal. There is no engine and no undo. Durability is
that of the services: WAL with synchronous=FULL.
"""

import asyncio
import hashlib
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import typer

from activities.shipping import SERVED
from bench.contenders.tasks import serve_tasks
from contracts.errors import Code
from contracts.order import NotificationMode, Order
from runtime.commandline import run
from runtime.seed import CUSTOMERS, PRICES_MINOR

_SCHEMA = """
PRAGMA journal_mode=WAL;
PRAGMA synchronous=FULL;
CREATE TABLE orders(transaction_id TEXT PRIMARY KEY, document TEXT, state TEXT, code TEXT);
CREATE TABLE accounts(customer_id TEXT PRIMARY KEY, currency TEXT, balance_minor INTEGER);
CREATE TABLE payments(transaction_id TEXT PRIMARY KEY, customer_id TEXT, amount_minor INTEGER, currency TEXT);
CREATE TABLE stock(sku TEXT PRIMARY KEY, on_hand INTEGER);
CREATE TABLE withdrawals(transaction_id TEXT, sku TEXT, quantity INTEGER, PRIMARY KEY(transaction_id, sku));
CREATE TABLE shipments(transaction_id TEXT PRIMARY KEY, tracking_code TEXT, country TEXT);
CREATE TABLE messages(transaction_id TEXT, channel TEXT, address TEXT, text TEXT,
                      PRIMARY KEY(transaction_id, channel));
"""
_UNITS = 1_000_000
_BALANCE_MINOR = 10**11

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


class Shop:
    """The whole shop in one file. A thread uses it at a time, because SQLite has one writer."""

    def __init__(self, file: Path) -> None:
        self._database = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
        self._database.executescript(_SCHEMA)
        with self._transaction() as tx:
            tx.executemany("INSERT INTO stock VALUES (?, ?)", [(sku, _UNITS) for sku in PRICES_MINOR])
            tx.executemany("INSERT INTO accounts VALUES (?, 'EUR', ?)", [(name, _BALANCE_MINOR) for name in CUSTOMERS])

    def place(self, order: Order) -> str:
        """Return how the order ends. An order placed again ends as before; with other content it is an error.

        The transaction id is the idempotency key: its row is written in the transaction of everything else.
        """
        document = order.model_dump_json()
        with self._transaction() as tx:
            find = "SELECT document, state FROM orders WHERE transaction_id = ?"
            if (known := tx.execute(find, (order.transaction_id,)).fetchone()) is not None:
                if known[0] != document:
                    raise ValueError(f"{Code.DUPLICATE_ORDER}: {order.order_id} was placed with other content")
                return str(known[1])
            code = _refusal(tx, order)
            state = "ROLLED_BACK" if code else "CONFIRMED"
            tx.execute("INSERT INTO orders VALUES (?, ?, ?, ?)", (order.transaction_id, document, state, code))
            if code is None:
                _perform(tx, order)
            _notify(tx, order, state)
            return state

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield self._database
        except BaseException:
            self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")


def _refusal(tx: sqlite3.Connection, order: Order) -> str | None:
    """The code of the first check that fails, in the order of the process."""
    find = "SELECT currency, balance_minor FROM accounts WHERE customer_id = ?"
    account = tx.execute(find, (order.customer_id,)).fetchone()
    if account is None or account[0] != order.currency:
        return Code.PAYMENT_DECLINED
    if account[1] < order.total_minor:
        return Code.INSUFFICIENT_FUNDS
    for line in order.lines:
        stock = tx.execute("SELECT on_hand FROM stock WHERE sku = ?", (line.sku,)).fetchone()
        if stock is None or stock[0] < line.quantity:
            return Code.OUT_OF_STOCK if stock else Code.UNKNOWN_SKU
    if order.ship_to.country not in SERVED:
        return Code.SHIPPING_UNAVAILABLE
    must_notify = order.notification is NotificationMode.REQUIRED
    return Code.NOTIFICATION_FAILED if must_notify and _bounces(order) else None


def _perform(tx: sqlite3.Connection, order: Order) -> None:
    key, total = order.transaction_id, order.total_minor
    debit = "UPDATE accounts SET balance_minor = balance_minor - ? WHERE customer_id = ?"
    tx.execute(debit, (total, order.customer_id))
    tx.execute("INSERT INTO payments VALUES (?, ?, ?, ?)", (key, order.customer_id, total, order.currency))
    withdraw = "UPDATE stock SET on_hand = on_hand - ? WHERE sku = ?"
    tx.executemany(withdraw, [(line.quantity, line.sku) for line in order.lines])
    tx.executemany("INSERT INTO withdrawals VALUES (?, ?, ?)", [(key, x.sku, x.quantity) for x in order.lines])
    code = "TRK-" + hashlib.sha256(key.encode()).hexdigest()[:12].upper()
    tx.execute("INSERT INTO shipments VALUES (?, ?, ?)", (key, code, order.ship_to.country))


def _notify(tx: sqlite3.Connection, order: Order, state: str) -> None:
    addresses = {"EMAIL": order.contact.email, "SMS": order.contact.phone}
    if _bounces(order):
        addresses = {} if state == "CONFIRMED" else {"SMS": order.contact.phone}  # as the notification service does
    text = f"Your order {order.order_id} over {order.total_minor} {order.currency} minor units: {state}."
    rows = [(order.transaction_id, channel, address, text) for channel, address in addresses.items()]
    tx.executemany("INSERT INTO messages VALUES (?, ?, ?, ?)", rows)


def _bounces(order: Order) -> bool:
    return order.contact.email.endswith(".invalid")


@app.command()
def main(data: Path) -> None:
    shop = Shop(data / "shop.db")
    thread = ThreadPoolExecutor(max_workers=1)

    async def place(order: Order) -> str:
        return await asyncio.get_running_loop().run_in_executor(thread, shop.place, order)

    asyncio.run(serve_tasks(place, "ready: one transaction"))


if __name__ == "__main__":
    run(app)
