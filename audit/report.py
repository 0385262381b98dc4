"""What an audit finds, as a document."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel


class Check(StrEnum):
    ALL_OR_NOTHING = "all_or_nothing"
    STOCK = "stock"
    MONEY = "money"
    SINGLE_EFFECT = "single_effect"
    ORPHANS = "orphans"


class Violation(BaseModel):
    """One broken invariant: `subject` is the order, sku or customer; `figures` are the numbers that disagree."""

    invariant: Check
    subject: str
    message: str
    figures: dict[str, int | str | None]


class DecidedSkip(BaseModel):
    """A step that an operator left undone, where that still shows: `figures` are those of the services."""

    subject: str
    step: str
    actor: str
    reason: str
    decided_at: datetime
    figures: dict[str, int | str | None]


class Report(BaseModel):
    """`checks` counts the violations of each invariant; `clean` means there are none.

    `skips` would be violations, had no operator decided them.
    """

    clean: bool
    orders: int
    checks: dict[Check, int]
    violations: list[Violation]
    skips: list[DecidedSkip]

    @classmethod
    def of(cls, orders: int, violations: list[Violation], skips: Sequence[DecidedSkip] = ()) -> Report:
        checks = dict.fromkeys(Check, 0)
        for violation in violations:
            checks[violation.invariant] += 1
        clean = not violations
        return cls(clean=clean, orders=orders, checks=checks, violations=violations, skips=list(skips))
