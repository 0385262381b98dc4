"""The trip's services: state in memory behind a fence, and for each operation a behaviour that a test scripts."""

import asyncio
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from datetime import timedelta
from enum import StrEnum
from typing import Any, TypeAlias

from temporalio import activity
from temporalio.exceptions import ApplicationError

from temporal_saga import StillWorking
from temporal_saga.outcome import IDEMPOTENCY_CONFLICT, STEP_UNDONE
from tests.gate import Gate

from .plan import OPERATIONS, STEPS, Act, Booking, Receipt

SOLD_OUT = "SOLD_OUT"
_READS = frozenset(step.name for step in STEPS if step.undo is None)


class Effect(StrEnum):
    HELD = "held"
    UNDONE = "undone"
    TOMBSTONE = "tombstone"


Work: TypeAlias = Callable[[], Receipt]
Behaviour: TypeAlias = Callable[[Work], Awaitable[Receipt]]


async def work(do: Work) -> Receipt:
    return do()


async def refuse(do: Work) -> Receipt:
    raise ApplicationError("we have none left", activity.info().attempt, type=SOLD_OUT, non_retryable=True)


async def conflict(do: Work) -> Receipt:
    raise ApplicationError("another request", activity.info().attempt, type=IDEMPOTENCY_CONFLICT, non_retryable=True)


async def fail(do: Work) -> Receipt:
    raise ConnectionError("the service is down")


async def hang(do: Work) -> Receipt:
    await asyncio.Event().wait()  # until the worker shuts down
    return do()


async def repeat(do: Work) -> Receipt:
    return replace(do(), repeated=True)


async def lose_reply(do: Work) -> Receipt:
    do()
    raise ConnectionError("done, but the line went dead")


def working(times: int, pause: timedelta = timedelta(minutes=10)) -> list[Behaviour]:
    """Answer so often that the work goes on."""

    async def behaviour(do: Work) -> Receipt:
        raise StillWorking(pause)

    return [behaviour] * times


async def slow(do: Work) -> Receipt:
    await asyncio.sleep(0.2)
    return do()


def behind(gate: Gate, then: Behaviour = work) -> Behaviour:
    """Wait at `gate`, then behave like `then`."""

    async def behaviour(do: Work) -> Receipt:
        try:
            await gate()
            return await then(do)
        finally:
            gate.left.set()

    return behaviour


class FakeServices:
    """All services of a trip. `effects` is the fence, by transaction and step; `undone` has the undos in their order.

    `calls` has every attempt, and `seen` the replies that undos were called with. The steps in `reads` change nothing.
    """

    def __init__(self, operations: Iterable[Act] = OPERATIONS, reads: Iterable[str] = _READS) -> None:
        self.effects: dict[tuple[str, str], Effect] = {}
        self.calls: list[str] = []
        self.undone: list[str] = []
        self.seen: list[tuple[str, Receipt | None]] = []
        self._scripts: dict[str, deque[Behaviour]] = defaultdict(deque)
        self._habits: dict[str, Behaviour] = {}
        self._operations = tuple(operations)
        self._reads = frozenset(reads)

    def script(self, operation: str, *first: Behaviour, then: Behaviour = work) -> None:
        """Have the next calls of the operation behave like `first`, one by one, and all later ones like `then`."""
        self._scripts[operation] = deque(first)
        self._habits[operation] = then

    def gate(self, operation: str, then: Behaviour = work) -> Gate:
        gate = Gate()
        self.script(operation, behind(gate, then))
        return gate

    def of(self, effect: Effect) -> set[str]:
        """The steps with that effect, of all transactions."""
        return {step for (_, step), state in self.effects.items() if state is effect}

    def held(self) -> dict[str, list[str]]:
        """What is held, by step."""
        return {step: [tx] for (tx, step), state in self.effects.items() if state is Effect.HELD}

    def activities(self) -> list[Callable[..., Any]]:
        return [self._activity(operation) for operation in self._operations]

    def _activity(self, operation: Act) -> Callable[..., Awaitable[Receipt]]:
        async def serve(request: Booking) -> Receipt:
            self.calls.append(operation.name)
            script = self._scripts[operation.name]
            behaviour = script.popleft() if script else self._habits.get(operation.name, work)
            return await behaviour(lambda: self._do(operation, request))

        async def serve_and_see(request: Booking, reply: Receipt | None) -> Receipt:
            self.seen.append((operation.name, reply))
            return await serve(request)

        return activity.defn(name=operation.name)(serve_and_see if operation.takes_reply else serve)

    def _do(self, operation: Act, request: Booking) -> Receipt:
        """Do the local transaction behind the fence."""
        receipt = Receipt(operation.name, activity.info().attempt)
        key = (request.transaction_id, operation.step)
        found = self.effects.get(key)
        if operation.undoes is not None:
            if found in (None, Effect.HELD):
                self.effects[key] = Effect.TOMBSTONE if found is None else Effect.UNDONE
                self.undone.append(operation.name)
        elif found in (Effect.UNDONE, Effect.TOMBSTONE):
            raise ApplicationError("this step is over", receipt.attempt, type=STEP_UNDONE, non_retryable=True)
        elif operation.name not in self._reads:
            self.effects[key] = Effect.HELD
        return receipt
