"""Group commit: calls that arrive while one local transaction runs share the next one.

A database commits a few hundred times a second, however small the transactions are. Under load one commit therefore
serves many calls; without load a call does not wait.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

LARGEST_GROUP = 200
"""Items of one transaction; with more, deciding them would take longer than the commit that is saved."""


@dataclass(frozen=True)
class _Submitted(Generic[Item, Result]):
    item: Item
    result: asyncio.Future[Result]
    """A future that is done before there is a result belongs to a caller that has stopped waiting."""


class GroupCommit(Generic[Item, Result]):
    """Collects items into groups and commits one group at a time.

    `commit` gets the items of a group and returns their results in order. If it fails with an error that may be the
    fault of a single item (`is_shared` is false), each item is tried alone, so that the others succeed.
    """

    def __init__(
        self, commit: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]], *, is_shared: Callable[[Exception], bool]
    ) -> None:
        self._commit = commit
        self._is_shared = is_shared
        self._waiting: deque[_Submitted[Item, Result]] = deque()
        self._working: asyncio.Task[None] | None = None

    async def submit(self, item: Item) -> Result:
        """The result of `item`. Raises the error of `commit`.

        An item whose caller is cancelled before its group is formed is dropped; later, cancelling stops nothing.
        """
        result: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Submitted(item, result))
        if self._working is None:
            self._working = asyncio.create_task(self._work())
        return await result

    async def _work(self) -> None:
        try:
            while self._waiting:
                await self._settle([self._waiting.popleft() for _ in range(min(len(self._waiting), LARGEST_GROUP))])
        finally:
            self._working = None

    async def _settle(self, submitted: Sequence[_Submitted[Item, Result]]) -> Exception | None:
        """Commit the items that have a waiting caller, as one group. Returns the error, if there was one."""
        group = [each for each in submitted if not each.result.done()]
        if not group:
            return None
        try:
            results = await self._commit([each.item for each in group])
        except Exception as error:  # noqa: BLE001 — every caller gets it
            if len(group) == 1 or self._is_shared(error):
                _fail(group, error)
            else:
                await self._settle_one_by_one(group)
            return error
        for each, result in zip(group, results, strict=True):
            if not each.result.done():  # its caller may have stopped waiting meanwhile
                each.result.set_result(result)
        return None

    async def _settle_one_by_one(self, group: Sequence[_Submitted[Item, Result]]) -> None:
        for at, alone in enumerate(group):
            error = await self._settle([alone])
            if error is not None and self._is_shared(error):  # the remaining items would only wait for the same error
                return _fail(group[at:], error)
        return None


def _fail(group: Sequence[_Submitted[Item, Result]], error: Exception) -> None:
    for each in group:
        if not each.result.done():
            each.result.set_exception(error)
