"""The client of Restate: `python -m bench.restate_client INGRESS_PORT ORDERS CONCURRENCY`, over its HTTP ingress."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import typer

from bench.load import closed_loop
from cli.documents import read_orders
from contracts.order import Order
from runtime.commandline import run

_TIMEOUT_S = 300

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(ingress_port: int, orders: Path, concurrency: int) -> None:
    asyncio.run(_place_all(ingress_port, read_orders(str(orders)), concurrency))


async def _place_all(ingress_port: int, orders: list[Order], concurrency: int) -> None:
    limits = httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
    url = f"http://127.0.0.1:{ingress_port}"
    async with httpx.AsyncClient(base_url=url, limits=limits, timeout=_TIMEOUT_S) as client:

        async def place(order: Order) -> str:
            answer = await client.post(f"/order/{order.order_id}/place", json=order.model_dump(mode="json"))
            return str(answer.raise_for_status().json())

        print((await closed_loop(place, orders, concurrency)).model_dump_json())


if __name__ == "__main__":
    run(app)
