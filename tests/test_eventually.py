"""Tests of `eventually`, which every waiting test uses."""

import pytest

from .eventually import eventually, eventually_async


def test_a_wait_in_vain_fails_and_says_what_was_waited_for_and_seen_last() -> None:
    with pytest.raises(AssertionError, match=r"not after 0 s: a second order; last seen: \['o-1'\]"):
        eventually(lambda: ["o-1"], "a second order", until=lambda orders: len(orders) > 1, timeout_s=0)


async def test_a_wait_returns_the_answer_that_it_waited_for() -> None:
    looks = iter([0, 0, 3])

    async def look() -> int:
        return next(looks)

    assert await eventually_async(look, "a number", pause_s=0) == 3


def test_a_look_that_takes_long_is_the_last_one_and_counts() -> None:
    assert eventually(iter([False, True]).__next__, "a second look", timeout_s=0.01)
