"""The clients of the contenders that have none: processes of their own with the output of `starter.py bulk`."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import typer
from temporalio.client import Client

from bench.load import closed_loop
from cli.documents import read_orders
from contracts.order import Order
from runtime.commandline import run

_HTTP_TIMEOUT_S = 300

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def temporal(address: str, workflow: str, queue: str, orders: Path, concurrency: int) -> None:
    """Start a workflow for each order and wait for its result."""

    async def place_all() -> None:
        client = await Client.connect(address)

        async def place(order: Order) -> str:
            document = order.model_dump(mode="json")
            return str(await client.execute_workflow(workflow, document, id=order.transaction_id, task_queue=queue))

        await _report(place, orders, concurrency)

    asyncio.run(place_all())


@app.command()
def restate(ingress_port: int, orders: Path, concurrency: int) -> None:
    """Post each order to Restate's ingress and wait for the answer."""
    import httpx  # noqa: PLC0415 — installed with Restate only

    async def place_all() -> None:
        limits = httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
        url = f"http://127.0.0.1:{ingress_port}"
        async with httpx.AsyncClient(base_url=url, limits=limits, timeout=_HTTP_TIMEOUT_S) as client:

            async def place(order: Order) -> str:
                answer = await client.post(f"/order/{order.order_id}/place", json=order.model_dump(mode="json"))
                return str(answer.raise_for_status().json())

            await _report(place, orders, concurrency)

    asyncio.run(place_all())


async def _report(place: Callable[[Order], Awaitable[str]], orders: Path, concurrency: int) -> None:
    print((await closed_loop(place, read_orders(str(orders)), concurrency)).model_dump_json())


if __name__ == "__main__":
    run(app)
