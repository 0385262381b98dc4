"""The fault injectors: what each does to the running system, how often and for how long.

Each draws from a random generator of its own, seeded by the run's seed and its name.
"""

import asyncio
import random
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import NullPool, text
from sqlalchemy.ext.asyncio import create_async_engine

from activities.catalogue import SERVICES
from tests.end_to_end.fleet import Fleet

from .proxy import Proxy

Inject = Callable[[random.Random], Awaitable[int]]
"""Injects one fault; returns how many processes, connections or databases it hit."""


@dataclass(frozen=True)
class FaultInjector:
    """Injects at moments drawn from `pause_s`, the shortest and the longest pause between two injections."""

    name: str
    pause_s: tuple[float, float]
    inject: Inject


QUIET_START_S = 4
"""What the workers take to start, all at once, on two cores that have nothing else to do."""
_SLOWEST_PACE = 3.0
"""Limit on the stretching of pauses: beyond it too few faults would be injected within ten minutes."""


def pace(start_s: float) -> float:
    """How many times slower than a quiet machine this one is; `start_s` is how long the workers took to start on it."""
    return min(_SLOWEST_PACE, max(1.0, start_s / QUIET_START_S))


def fault_injectors(fleet: Fleet, proxy: Proxy, start_s: float) -> list[FaultInjector]:
    """The injectors, paced so that an order which takes a few seconds meets about one fault.

    A killed worker takes time to restart, longer on a busy machine: there the pauses grow, or most injections would
    find no worker to kill.
    """
    slower = pace(start_s)

    async def kill_worker(rng: random.Random) -> int:
        return int(fleet.signal(rng.choice(fleet.workers), signal.SIGKILL))

    async def kill_server(_: random.Random) -> int:
        await fleet.kill_server()
        await fleet.start_server()
        return 1

    async def freeze_worker(rng: random.Random) -> int:
        """Freeze a worker for longer than an attempt may take: it resumes after other workers have retried."""
        name = rng.choice(fleet.workers)
        struck = fleet.signal(name, signal.SIGSTOP)
        await asyncio.sleep(rng.uniform(3, 8))
        fleet.signal(name, signal.SIGCONT)
        return int(struck)

    async def lock_database(rng: random.Random) -> int:
        """Lock a database, sometimes for longer than the four seconds that the services wait for it."""
        service, seconds = rng.choice(sorted(SERVICES)), rng.uniform(1, 6)
        if (template := fleet.system.database_url) is not None:
            return await _lock_on_server(template.format(service=service), seconds)
        return await asyncio.to_thread(_lock, fleet.system.folder / f"{service}.db", seconds)

    async def cut(rng: random.Random) -> int:
        return proxy.cut(rng)

    async def half_close(rng: random.Random) -> int:
        return proxy.half_close(rng)

    async def delay(rng: random.Random) -> int:
        return await proxy.delay(rng.uniform(0.2, 3))

    pauses_s: dict[str, tuple[tuple[float, float], Inject]] = {
        "worker killed": ((5, 9), kill_worker),
        "server killed": ((30 / slower, 50 / slower), kill_server),  # restarts within seconds on any machine
        "worker frozen": ((15, 30), freeze_worker),
        "database locked": ((8, 15), lock_database),
        "connections cut": ((8, 15), cut),
        "connections half-closed": ((8, 15), half_close),
        "connections delayed": ((8, 15), delay),
    }
    return [
        FaultInjector(name, (shortest * slower, longest * slower), inject)
        for name, ((shortest, longest), inject) in pauses_s.items()
    ]


def _lock(path: Path, seconds: float) -> int:
    with closing(sqlite3.connect(path, timeout=seconds)) as connection:
        try:
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError:  # the services kept the database busy for all this time
            return 0
        time.sleep(seconds)
        connection.rollback()
    return 1


async def _lock_on_server(url: str, seconds: float) -> int:
    """Keep every writer from the service's fence."""
    engine = create_async_engine(url, poolclass=NullPool)
    async with engine.connect() as connection:
        await connection.execute(text("LOCK TABLE operations IN EXCLUSIVE MODE"))
        await asyncio.sleep(seconds)
        await connection.rollback()
    return 1


@asynccontextmanager
async def injecting(injectors: list[FaultInjector], seed: int, injections: Counter[str]) -> AsyncIterator[None]:
    """Run the injectors while the block runs, and count what they hit; an injection that has begun is finished."""
    over = asyncio.Event()

    async def keep_injecting(injector: FaultInjector) -> None:
        rng = random.Random(f"{seed}/{injector.name}")  # noqa: S311 — repeatable on purpose
        while not over.is_set():
            try:
                await asyncio.wait_for(over.wait(), rng.uniform(*injector.pause_s))
            except TimeoutError:
                injections[injector.name] += await injector.inject(rng)

    async with asyncio.TaskGroup() as tasks:
        for injector in injectors:
            tasks.create_task(keep_injecting(injector))
        try:
            yield
        finally:
            over.set()
