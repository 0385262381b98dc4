"""How a program that is client and worker in one is loaded: a JSON document on stdin, a line on stdout for each."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable

from bench.load import closed_loop
from cli.documents import read_orders
from contracts.order import Order


async def serve_tasks(place: Callable[[Order], Awaitable[str]], ready: str) -> None:
    """Say that the program is ready, then do what stdin says until its end."""
    print(ready, flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        task = json.loads(line)
        load = await closed_loop(place, read_orders(task["orders"]), task["concurrency"])
        print(load.model_dump_json(), flush=True)
