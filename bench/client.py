"""The client of the contenders on Temporal that have none: `python -m bench.client WORKFLOW QUEUE ORDERS CONCURRENCY`.

A process of its own as `starter.py bulk` is, and it prints the same fields.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import typer

from bench.load import closed_loop
from cli.documents import read_orders
from contracts.order import Order
from runtime import connection
from runtime.commandline import run
from runtime.settings import Settings

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(workflow: str, queue: str, orders: Path, concurrency: int) -> None:
    asyncio.run(_place_all(workflow, queue, read_orders(str(orders)), concurrency))


async def _place_all(workflow: str, queue: str, orders: list[Order], concurrency: int) -> None:
    client = await connection.connect(Settings.read())

    async def place(order: Order) -> str:
        document = order.model_dump(mode="json")
        return str(await client.execute_workflow(workflow, document, id=order.transaction_id, task_queue=queue))

    load = await closed_loop(place, orders, concurrency)
    print(load.model_dump_json())


if __name__ == "__main__":
    run(app)
