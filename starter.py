"""The command line of the order saga: starts orders, shows them, cancels them, proves them."""

import typer

from cli.audit import audit
from cli.bulk import bulk
from cli.demo import demo
from cli.desk import desk
from cli.erase import erase
from cli.goods import account, stock
from cli.listing import list_
from cli.orders import cancel, place, redo, status
from cli.retire import retire
from cli.sweep import sweep
from cli.transaction import transaction
from runtime.commandline import run

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, help=__doc__)
for command in (place, bulk, transaction, status, cancel, audit, sweep, redo, retire, erase, demo):
    app.command()(command)
app.command("list")(list_)
app.add_typer(desk, name="desk")
app.add_typer(stock, name="stock")
app.add_typer(account, name="account")

if __name__ == "__main__":
    run(app)
