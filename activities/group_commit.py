"""Group commit: what is asked for while one local transaction runs shares the next one.

A database commits a few hundred times a second, however small the transactions; here the work of a busy moment is one
of them, and whoever is alone waits for nobody.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

LARGEST_GROUP = 200
"""Items of one transaction: more would keep the first of them waiting for longer than a commit takes."""


@dataclass(frozen=True)
class _Asked(Generic[Item, Result]):
    item: Item
    result: asyncio.Future[Result]
    """Done before there is a result: its caller has stopped waiting."""


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
        self._waiting: deque[_Asked[Item, Result]] = deque()
        self._working: asyncio.Task[None] | None = None

    async def submit(self, item: Item) -> Result:
        """The result of `item`. Raises what `commit` raised.

        A caller that stops waiting before its group is formed has asked for nothing; after that it stops nothing else.
        """
        result: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Asked(item, result))
        if self._working is None:
            self._working = asyncio.create_task(self._work())
        return await result

    async def _work(self) -> None:
        try:
            while self._waiting:
                await self._settle([self._waiting.popleft() for _ in range(min(len(self._waiting), LARGEST_GROUP))])
        finally:
            self._working = None

    async def _settle(self, asked: Sequence[_Asked[Item, Result]]) -> Exception | None:
        """Commit the items that are still waited for, as one group; why it failed."""
        group = [each for each in asked if not each.result.done()]
        if not group:
            return None
        try:
            results = await self._commit([each.item for each in group])
        except Exception as error:  # noqa: BLE001 — it is handed to those who asked
            if len(group) == 1 or self._is_shared(error):
                _fail(group, error)
            else:
                await self._settle_one_by_one(group)
            return error
        for each, result in zip(group, results, strict=True):
            if not each.result.done():  # or else nobody waits for it any more
                each.result.set_result(result)
        return None

    async def _settle_one_by_one(self, group: Sequence[_Asked[Item, Result]]) -> None:
        for at, alone in enumerate(group):
            error = await self._settle([alone])
            if error is not None and self._is_shared(error):  # met on the way: each of the others would wait for it too
                return _fail(group[at:], error)
        return None


def _fail(group: Sequence[_Asked[Item, Result]], error: Exception) -> None:
    for each in group:
        if not each.result.done():
            each.result.set_exception(error)
