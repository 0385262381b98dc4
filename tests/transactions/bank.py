"""A service that the catalogue does not know: accounts in memory, idempotent by transaction and account."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from temporalio import activity
from temporalio.exceptions import ApplicationError

BROKE = "BROKE"


@dataclass(frozen=True)
class Transfer:
    transaction_id: str
    account: str
    amount_minor: int


Trouble = Callable[[], Awaitable[None]]


async def fail() -> None:
    raise ConnectionError("the bank is closed")


async def hang() -> None:
    await asyncio.Event().wait()  # until the worker cancels it


class Bank:
    """Everybody begins with 1000. `calls` counts every attempt, `trouble` comes before the next attempts act."""

    def __init__(self) -> None:
        self.balances: dict[str, int] = defaultdict(lambda: 1000)
        self.calls: Counter[str] = Counter()
        self.begun: list[str] = []
        self.trouble: dict[str, deque[Trouble]] = defaultdict(deque)
        self._moved: dict[tuple[str, str], int] = {}
        self._over: set[tuple[str, str]] = set()

    @activity.defn(name="bank.withdraw")
    async def withdraw(self, ask: Transfer) -> int:
        await self._attempt("bank.withdraw")
        if ask.transaction_id not in self.begun:
            self.begun.append(ask.transaction_id)
        if self.balances[ask.account] < ask.amount_minor:
            raise ApplicationError("not enough money", type=BROKE, non_retryable=True)
        return self._move(ask, -ask.amount_minor)

    @activity.defn(name="bank.put_back")
    async def put_back(self, ask: Transfer) -> int:
        await self._attempt("bank.put_back")
        return self._take_back(ask)

    @activity.defn(name="bank.deposit")
    async def deposit(self, ask: Transfer) -> int:
        await self._attempt("bank.deposit")
        return self._move(ask, ask.amount_minor)

    @activity.defn(name="bank.take_back")
    async def take_back(self, ask: Transfer) -> int:
        await self._attempt("bank.take_back")
        return self._take_back(ask)

    @activity.defn(name="bank.print_receipt")
    async def print_receipt(self, ask: Transfer) -> int:
        await self._attempt("bank.print_receipt")
        return self.balances[ask.account]

    def _move(self, ask: Transfer, amount: int) -> int:
        key = (ask.transaction_id, ask.account)
        if key in self._over:
            raise ApplicationError("this step is over", type="STEP_UNDONE", non_retryable=True)
        if key not in self._moved:
            self._moved[key] = amount
            self.balances[ask.account] += amount
        return self.balances[ask.account]

    def _take_back(self, ask: Transfer) -> int:
        key = (ask.transaction_id, ask.account)
        self._over.add(key)
        self.balances[ask.account] -= self._moved.pop(key, 0)
        return self.balances[ask.account]

    async def _attempt(self, name: str) -> None:
        self.calls[name] += 1
        if self.trouble[name]:
            await self.trouble[name].popleft()()

    def activities(self) -> list[Callable[..., Any]]:
        return [self.withdraw, self.put_back, self.deposit, self.take_back, self.print_receipt]
