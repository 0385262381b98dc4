"""OS processes that contend with the tests: each has its own `Database`, and all start at the same moment."""

import asyncio
import multiprocessing
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.synchronize import Barrier
from typing import Any, Self

from activities.database import connect
from activities.fence import RefusedDecision
from activities.schema import migrate
from contracts.catalogue import OPERATIONS
from contracts.message import Request

from .service_harness import ServiceHarness

PROCESSES = 4
"""Number of processes, which is twice the cores of the smallest machine: they interleave, and start in seconds."""
_START_S = 100
"""Time for four interpreters to import the services on a busy machine."""
_starting_line: Barrier | None = None


class Contenders:
    """Four processes that many tests share."""

    def __enter__(self) -> Self:
        context = multiprocessing.get_context("spawn")
        barrier = context.Barrier(PROCESSES)
        self._pool = ProcessPoolExecutor(PROCESSES, context, initializer=_enter, initargs=(barrier,))
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    async def each(self, work: Callable[..., Any], *arguments: Any) -> list[Any]:
        """Run `work(*arguments, number)` in every process at once, and return the results."""
        loop = asyncio.get_running_loop()
        jobs = (loop.run_in_executor(self._pool, _at_once, work, (*arguments, n)) for n in range(PROCESSES))
        return list(await asyncio.gather(*jobs))


def _enter(barrier: Barrier) -> None:
    global _starting_line  # noqa: PLW0603 — a process of the pool has no other place for what it inherits
    _starting_line = barrier


def _at_once(work: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    assert _starting_line is not None
    _starting_line.wait(_START_S)
    return work(*arguments)


def deliver_in_parallel(
    url: str, operation_name: str, shares: Sequence[Sequence[Request]], number: int
) -> Counter[str]:
    """Deliver this process's share of requests at once, until each has an answer. Returns the answers by code."""
    operation = OPERATIONS[operation_name]

    async def deliver() -> Counter[str]:
        harness = ServiceHarness(operation.queue, url)
        answers = await asyncio.gather(
            *(harness.deliver_until_answered(operation, request) for request in shares[number])
        )
        await harness.database.dispose()
        ends = Counter(str(answer.code) if isinstance(answer, RefusedDecision) else "DONE" for answer in answers)
        return ends + Counter(STALE=harness.stale_escapes)

    return asyncio.run(deliver())


def migrate_twice(url: str, service: str, _: int) -> None:
    """Migrate as two workers in one process do, each with its own `Database`."""

    async def one() -> None:
        database = connect(url)
        await migrate(database, service)
        await database.dispose()

    async def both() -> None:
        await asyncio.gather(one(), one())

    asyncio.run(both())
