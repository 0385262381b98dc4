"""A closed loop of clients: so many orders are under way at a time, the next begins when one ends."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

from bench.figures import Latency, Load
from contracts.order import Order


async def closed_loop(place: Callable[[Order], Awaitable[str]], orders: Sequence[Order], concurrency: int) -> Load:
    """Place all `orders` and report. `place` waits for the order's end and returns its state."""
    waiting = iter(orders)
    states: Counter[str] = Counter()
    latencies: list[float] = []

    async def client() -> None:
        for order in waiting:
            begun = time.perf_counter()
            states[await place(order)] += 1
            latencies.append((time.perf_counter() - begun) * 1000)

    started = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(concurrency)))
    seconds = time.perf_counter() - started
    return Load(
        orders=len(orders),
        seconds=seconds,
        orders_per_second=len(orders) / seconds,
        latency_ms=Latency.of(latencies),
        states=dict(states),
    )
