"""The one way in which tests wait for another process: bounded, and with an error that shows what was seen last."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

_TIMEOUT_S = 30
"""Limit on a wait: many times what it takes on a busy machine, and less than the timeout of a test."""
_PAUSE_S = 0.1


def eventually(
    look: Callable[[], T], what: str, *, until: Callable[[T], object] = bool, timeout_s: float = _TIMEOUT_S
) -> T:
    """Call `look` until its answer passes `until`, and return the answer; `AssertionError` if it never does.

    `what` is what the test waits for. `look` is called once more when the time is up, so a slow call is not lost.
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
    """`eventually` for a `look` that is awaited."""
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
