"""What stops a saga before its pivot: its deadline, a cancel, or a step that another execution has undone."""

from __future__ import annotations

from saga.journal import Failure

DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
"""The deadline passed before the pivot."""


def deadline_exceeded(seconds: float) -> Failure:
    return Failure(DEADLINE_EXCEEDED, f"not confirmed within {seconds:g} s")
