"""Group commit: what is asked for while one local transaction runs shares the next one.

A database commits a few hundred times a second, however small the transactions; here the work of a busy moment is one
of them, and whoever is alone waits for nobody.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

LARGEST_GROUP = 200
"""Items of one transaction: more would keep the first of them waiting for longer than a commit takes."""


class GroupCommit(Generic[Item, Result]):
    """`commit` gets the items of one group and returns their results in order; one call of it runs at a time.

    If it fails for a reason that may lie with a single item (`is_shared` says no), each item of the group is tried
    alone, so that one of them cannot take the others along.
    """

    def __init__(
        self,
        commit: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]],
        *,
        is_shared: Callable[[Exception], bool],
    ) -> None:
        self._commit = commit
        self._is_shared = is_shared
        self._waiting: deque[tuple[Item, asyncio.Future[Result]]] = deque()
        self._working: asyncio.Task[None] | None = None

    async def submit(self, item: Item) -> Result:
        """The result of `item`. Raises what `commit` raised; whoever stops waiting stops nothing else."""
        result: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, result))
        if self._working is None:
            self._working = asyncio.create_task(self._work())
        return await result

    async def _work(self) -> None:
        try:
            while self._waiting:
                group = [self._waiting.popleft() for _ in range(min(len(self._waiting), LARGEST_GROUP))]
                await self._settle(group)
        finally:
            self._working = None

    async def _settle(self, group: Sequence[tuple[Item, asyncio.Future[Result]]]) -> None:
        try:
            results = await self._commit([item for item, _ in group])
        except Exception as error:  # noqa: BLE001 — it is handed to whoever asked
            if len(group) > 1 and not self._is_shared(error):
                for alone in group:
                    await self._settle([alone])
                return
            for _, waiting in group:
                if not waiting.done():
                    waiting.set_exception(error)
            return
        for (_, waiting), result in zip(group, results, strict=True):
            if not waiting.done():  # or else nobody waits for it any more
                waiting.set_result(result)
