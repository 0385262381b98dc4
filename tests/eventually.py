"""The one way in which tests wait for what another process does: with a bound, and loudly where it is in vain."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

_TIMEOUT_S = 30
"""Many times what any of these waits takes on a busy machine; the test's own timeout is longer."""
_PAUSE_S = 0.1


def eventually(
    look: Callable[[], T], what: str, *, until: Callable[[T], object] = bool, timeout_s: float = _TIMEOUT_S
) -> T:
    """Look again and again until the answer passes `until`, and return it; `AssertionError` if it never does.

    `what` says what was waited for. The last look is taken when the time is up, so that a slow one has its chance.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        is_last, answer = time.monotonic() >= deadline, look()
        if until(answer):
            return answer
        if is_last:
            raise _in_vain(what, timeout_s, answer)
        time.sleep(_PAUSE_S)


async def eventually_async(
    look: Callable[[], Awaitable[T]],
    what: str,
    *,
    until: Callable[[T], object] = bool,
    timeout_s: float = _TIMEOUT_S,
    pause_s: float = _PAUSE_S,
) -> T:
    """`eventually`, for looks that are awaited."""
    deadline = time.monotonic() + timeout_s
    while True:
        is_last, answer = time.monotonic() >= deadline, await look()
        if until(answer):
            return answer
        if is_last:
            raise _in_vain(what, timeout_s, answer)
        await asyncio.sleep(pause_s)


def _in_vain(what: str, timeout_s: float, answer: object) -> AssertionError:
    return AssertionError(f"not after {timeout_s:g} s: {what}; last seen: {str(answer)[-2000:]}")
