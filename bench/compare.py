"""`python -m bench.compare`: the same orders with an orchestrator and by events, on one embedded system.

Not a contest of engines, that is what the rest of this folder is for: what it costs to do without an orchestrator.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from temporalio.client import Client

from bench import cpu
from bench.contender import PYTHON
from bench.footprint import billed, settled
from bench.load import closed_loop
from bench.orders import orders
from bench.processes import ROOT, BenchFailed, Program, environment_of
from client.orders import Mode, Orders
from contracts.errors import Code
from contracts.order import Order
from runtime import connection
from runtime.commandline import CommandFailed, Exit, run
from runtime.embedded import free_port
from runtime.settings import Settings

_WARM_UP = 5
_MODES = {"orchestrated": Mode.SAGA, "choreographed": Mode.CHOREOGRAPHY}
CODE = {
    "orchestrated": ["workflows/order.py"],
    "choreographed": [
        "contracts/choreography.py",
        "workflows/choreography.py",
        "workflows/event_log.py",
        "workflows/participant.py",
        "runtime/events.py",
    ],
}
"""The code of each mode alone; both stand on `saga/`, the services and their fence."""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    count: Annotated[int, typer.Option(min=1, max=500, help="Orders of each kind and mode, one at a time.")] = 20,
) -> None:
    """Place the same orders in both modes and show what they cost."""
    try:
        rows = _compare(count)
    except BenchFailed as error:
        raise CommandFailed(Code.SERVICE_UNAVAILABLE, str(error), Exit.NOT_ENDED) from error
    table = Table(
        "mode", "orders", "workflows", "history events", "actions", "p50 ms", "server CPU ms", "worker CPU ms"
    )
    for row in rows:
        table.add_row(*row)
    console = Console() if sys.stdout.isatty() else Console(width=120)
    console.print(table)
    for mode, files in CODE.items():
        console.print(f"{mode}: {lines_of(files)} lines in {', '.join(files)}")


def _compare(count: int) -> list[Sequence[str]]:
    port, ui_port = free_port(), free_port()
    command = [PYTHON, "worker.py", "--embedded", "--port", str(port), "--ui-port", str(ui_port)]
    with tempfile.TemporaryDirectory(prefix="order-saga-compare-") as name:
        folder, address = Path(name), f"127.0.0.1:{port}"
        environment = environment_of(folder, address)
        with Program([*command, "--data", name], environment, folder / "worker.log") as program:
            return asyncio.run(_measure(address, program.pid, count))


async def _measure(address: str, pid: int, count: int) -> list[Sequence[str]]:
    client = await connection.connect(Settings(), address=address)
    for mode in _MODES.values():
        await closed_loop(_place(client, mode), list(orders(_WARM_UP, 0)), 1)
    kinds = {"confirmed": 0.0, "refused": 1.0}
    return [
        [name, kind, *await _cost(client, pid, mode, list(orders(count, refused_share)))]
        for kind, refused_share in kinds.items()
        for name, mode in _MODES.items()
    ]


def _place(client: Client, mode: Mode) -> Callable[[Order], Awaitable[str]]:
    async def place(order: Order) -> str:
        return (await Orders(client).place(order, mode)).state

    return place


async def _cost(client: Client, pid: int, mode: Mode, placed: Sequence[Order]) -> list[str]:
    """For each order, as the columns have it."""
    since, before = datetime.now(UTC), cpu.used([pid])
    load = await closed_loop(_place(client, mode), placed, 1)
    used = cpu.used([pid]) - before
    executions = await settled(client, since)
    actions = [await billed(client, execution) for execution in executions]
    figures = [
        len(executions),
        sum(execution.history_length for execution in executions),
        sum(actions),
    ]
    shares = [f"{figure / len(placed):.1f}" for figure in figures]
    cpu_ms = [f"{seconds / len(placed) * 1000:.0f}" for seconds in (used.server_s, used.worker_s)]
    return [*shares, f"{load.latency_ms.p50:.0f}", *cpu_ms]


def lines_of(files: Sequence[str]) -> int:
    """Comments and docstrings included, empty lines not."""
    return sum(bool(line.strip()) for file in files for line in (ROOT / file).read_text().splitlines())


if __name__ == "__main__":
    run(app)
