#!/usr/bin/env python3
"""The command line of the order saga: starts orders, shows them, cancels them, proves them."""

from typing import Annotated

import typer

from cli.lazy import group_of
from cli.version import print_version
from runtime.commandline import run

COMMANDS = {
    "place": ("cli.orders:place", "Place an order and wait for its end, or for its decision."),
    "bulk": ("cli.bulk:bulk", "Place many orders and wait for all of them."),
    "transaction": (
        "cli.transaction:transaction",
        "Run a transaction: a list of steps, each with its commit and its rollback.",
    ),
    "status": (
        "cli.orders:status",
        "The transaction log of one order, or of a transaction given as data, during and after.",
    ),
    "list": ("cli.listing:list_", "The orders and transactions, what is parked first, then newest first."),
    "graph": ("cli.graph:graph", "The saga as a picture, drawn from its own plan; with an order, the way it took."),
    "cancel": (
        "cli.orders:cancel",
        "Ask for an order to be cancelled; refused with CANCEL_REFUSED once its confirmation has been asked for.",
    ),
    "desk": ("cli.desk:desk", "Calls that do not get through: see them, retry, skip or fix them."),
    "doctor": ("cli.doctor:doctor", "What is wrong with this installation, and what mends it."),
    "audit": (
        "cli.audit:audit",
        "Prove over every database that each order is everywhere or nowhere, and that no stock or money is lost.",
    ),
    "sweep": (
        "cli.sweep:sweep",
        "Find orders whose workflow was closed without an end (terminated, timed out) and finish them.",
    ),
    "redo": (
        "cli.orders:redo",
        "After a restore: bring a closed order or transaction to its end again, through the fence.",
    ),
    "retire": (
        "cli.retire:retire",
        "Remove the rows of orders and transactions that ended before that time, and that Temporal has forgotten.",
    ),
    "erase": (
        "cli.erase:erase",
        "Replace names, addresses, e-mail addresses and phone numbers of a customer. Amounts, goods and ids stay.",
    ),
    "demo": (
        "cli.demo:demo",
        "Start a fresh system, place an order for every way to end, show how they ended, and audit.",
    ),
    "stock": ("cli.goods:stock", "The goods on the shelves."),
    "account": ("cli.goods:account", "The customers' accounts."),
}
"""The commands in the order of `--help`: where each is, and its line there, which is the first of its own help."""

app = typer.Typer(
    cls=group_of(COMMANDS),
    pretty_exceptions_enable=False,
    help=__doc__,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=print_version, help="Print the versions and leave.")
    ] = False,
) -> None:
    pass


if __name__ == "__main__":
    run(app)
