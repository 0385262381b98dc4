"""Who strikes during the storm, how often and how hard. Each draws from a seed of its own."""

from __future__ import annotations

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

Blow = Callable[[random.Random], Awaitable[int]]
"""Strikes once; how many were hit."""


@dataclass(frozen=True)
class Villain:
    """Strikes at moments drawn from `pause_s`, the shortest and the longest pause between two blows."""

    name: str
    pause_s: tuple[float, float]
    blow: Blow


QUIET_START_S = 4
"""What the workers take to start, all at once, on two cores that have nothing else to do."""
_SLOWEST_PACE = 3.0
"""A machine slower than that has to bear it: with longer pauses nothing would happen within ten minutes."""


def villains(fleet: Fleet, proxy: Proxy, start_s: float) -> list[Villain]:
    """An untroubled order takes a few seconds and meets about one blow. Whoever is killed takes time to be back, and
    on a machine where the workers took `start_s` to start that is longer: the blows are paced by it, or there would be
    nobody left to kill."""
    pace = min(_SLOWEST_PACE, max(1.0, start_s / QUIET_START_S))

    async def kill_worker(rng: random.Random) -> int:
        return int(fleet.signal(rng.choice(fleet.workers), signal.SIGKILL))

    async def kill_server(_: random.Random) -> int:
        await fleet.kill_server()
        await fleet.start_server()
        return 1

    async def freeze_worker(rng: random.Random) -> int:
        """Longer than an attempt may take: it wakes up after others have gone on without it."""
        name = rng.choice(fleet.workers)
        struck = fleet.signal(name, signal.SIGSTOP)
        await asyncio.sleep(rng.uniform(3, 8))
        fleet.signal(name, signal.SIGCONT)
        return int(struck)

    async def lock_database(rng: random.Random) -> int:
        """Now and then longer than the services wait for it, which is four seconds."""
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

    pauses_s: dict[str, tuple[tuple[float, float], Blow]] = {
        "worker killed": ((5, 9), kill_worker),
        "server killed": ((30 / pace, 50 / pace), kill_server),  # is back within seconds, whatever the workers need
        "worker frozen": ((15, 30), freeze_worker),
        "database locked": ((8, 15), lock_database),
        "connections cut": ((8, 15), cut),
        "connections half-closed": ((8, 15), half_close),
        "connections delayed": ((8, 15), delay),
    }
    return [
        Villain(name, (shortest * pace, longest * pace), blow) for name, ((shortest, longest), blow) in pauses_s.items()
    ]


def _lock(path: Path, seconds: float) -> int:
    with closing(sqlite3.connect(path, timeout=seconds)) as connection:
        try:
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError:  # the services were busier than patient we are
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
async def storm(gang: list[Villain], seed: int, blows: Counter[str]) -> AsyncIterator[None]:
    """Let them loose while the block runs, and count their blows; whoever has struck then finishes the blow."""
    over = asyncio.Event()

    async def haunt(villain: Villain) -> None:
        rng = random.Random(f"{seed}/{villain.name}")  # noqa: S311 — repeatable on purpose
        while not over.is_set():
            try:
                await asyncio.wait_for(over.wait(), rng.uniform(*villain.pause_s))
            except TimeoutError:
                blows[villain.name] += await villain.blow(rng)

    async with asyncio.TaskGroup() as tasks:
        for villain in gang:
            tasks.create_task(haunt(villain))
        try:
            yield
        finally:
            over.set()
