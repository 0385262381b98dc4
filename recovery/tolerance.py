"""A round over many items that survives each of them: a failure of one item is noted, and the others go on."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import TypeVar

from temporalio import activity
from temporalio.service import RPCError, RPCStatusCode

from contracts.errors import Code
from contracts.recovery import NotSwept
from runtime.execute import OperationFailed
from temporal_saga.outcome import first_line

_AT_ONCE = 50
"""Items looked up, or brought to an end, at a time: a sweep must not crowd out the orders under way."""
_ABOUT_TEMPORAL = (
    RPCStatusCode.UNAVAILABLE,
    RPCStatusCode.DEADLINE_EXCEEDED,
    RPCStatusCode.RESOURCE_EXHAUSTED,
    RPCStatusCode.PERMISSION_DENIED,
    RPCStatusCode.UNAUTHENTICATED,
)
"""Temporal does not serve the worker: the next item would fail too, so the round ends and Temporal repeats it."""
T = TypeVar("T")
R = TypeVar("R")


class Round:
    """One round, and what it could not do."""

    def __init__(self) -> None:
        self._failures: dict[tuple[str, str], NotSwept] = {}

    @property
    def failures(self) -> tuple[NotSwept, ...]:
        return tuple(self._failures.values())

    def note(self, subject: str, code: str, message: str) -> None:
        """Log and keep that `subject` was left out."""
        self._failures.setdefault((subject, code), NotSwept(id=subject, code=code, message=message))
        fields = {"transaction_id": subject, "service": "recovery", "status": "FAILED", "error_code": code}
        activity.logger.error("sweep", extra=fields | {"error": message})

    async def tried(self, subject: str, work: Awaitable[R]) -> R | None:
        """The result of `work`; `None` if it failed, which is noted. Raises what is not about `subject` alone."""
        try:
            return await work
        except OperationFailed as error:
            self.note(subject, error.code, error.message)
        except RPCError as error:
            if error.status in _ABOUT_TEMPORAL:
                raise
            self.note(subject, Code.UNREACHABLE, f"Temporal: {first_line(error)}")
        except Exception as error:  # noqa: BLE001 — codecs and converters raise what they like; the others must not pay
            self.note(subject, Code.UNREADABLE, first_line(error))
        return None

    async def each(
        self, items: Sequence[T], name: Callable[[T], str], work: Callable[[T], Awaitable[R | None]]
    ) -> list[R]:
        """The results of `work` for those of `items` that have one, a few at a time."""
        found: list[R | None] = []
        for part in parts(items, _AT_ONCE):
            found += await asyncio.gather(*(self.tried(name(item), work(item)) for item in part))
        return [result for result in found if result is not None]


def parts(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[start : start + size] for start in range(0, len(items), size))
