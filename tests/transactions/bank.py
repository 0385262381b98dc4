"""A service outside the catalogue: accounts in memory, idempotent by transaction and account."""

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


Injection = Callable[[], Awaitable[None]]


async def fail() -> None:
    raise ConnectionError("the bank is closed")


async def hang() -> None:
    await asyncio.Event().wait()  # the worker cancels it


class Bank:
    """Each account starts with 1000. `calls` counts every attempt; `injected` runs before the next attempts act."""

    def __init__(self) -> None:
        self.balances: dict[str, int] = defaultdict(lambda: 1000)
        self.calls: Counter[str] = Counter()
        self.started: list[str] = []
        self.injected: dict[str, deque[Injection]] = defaultdict(deque)
        self._moved: dict[tuple[str, str], int] = {}
        self._undone: set[tuple[str, str]] = set()

    @activity.defn(name="bank.withdraw")
    async def withdraw(self, request: Transfer) -> int:
        await self._attempt("bank.withdraw")
        if request.transaction_id not in self.started:
            self.started.append(request.transaction_id)
        if self.balances[request.account] < request.amount_minor:
            raise ApplicationError("not enough money", type=BROKE, non_retryable=True)
        return self._move(request, -request.amount_minor)

    @activity.defn(name="bank.put_back")
    async def put_back(self, request: Transfer) -> int:
        await self._attempt("bank.put_back")
        return self._take_back(request)

    @activity.defn(name="bank.deposit")
    async def deposit(self, request: Transfer) -> int:
        await self._attempt("bank.deposit")
        return self._move(request, request.amount_minor)

    @activity.defn(name="bank.take_back")
    async def take_back(self, request: Transfer) -> int:
        await self._attempt("bank.take_back")
        return self._take_back(request)

    @activity.defn(name="bank.print_receipt")
    async def print_receipt(self, request: Transfer) -> int:
        await self._attempt("bank.print_receipt")
        return self.balances[request.account]

    def _move(self, request: Transfer, amount: int) -> int:
        key = (request.transaction_id, request.account)
        if key in self._undone:
            raise ApplicationError("this step was undone", type="STEP_UNDONE", non_retryable=True)
        if key not in self._moved:
            self._moved[key] = amount
            self.balances[request.account] += amount
        return self.balances[request.account]

    def _take_back(self, request: Transfer) -> int:
        key = (request.transaction_id, request.account)
        self._undone.add(key)
        self.balances[request.account] -= self._moved.pop(key, 0)
        return self.balances[request.account]

    async def _attempt(self, name: str) -> None:
        self.calls[name] += 1
        if self.injected[name]:
            await self.injected[name].popleft()()

    def activities(self) -> list[Callable[..., Any]]:
        return [self.withdraw, self.put_back, self.deposit, self.take_back, self.print_receipt]
