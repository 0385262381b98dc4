"""The document of an audit."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Self

from pydantic import BaseModel


class Invariant(StrEnum):
    ALL_OR_NOTHING = "all_or_nothing"
    STOCK = "stock"
    MONEY = "money"
    SINGLE_EFFECT = "single_effect"
    ORPHANS = "orphans"


class Violation(BaseModel):
    """One broken invariant."""

    invariant: Invariant
    subject: str
    """The order, sku or customer, or the workflow of a transaction that was given as data."""
    message: str
    figures: dict[str, int | str | None]
    """The figures that disagree."""


class DecidedSkip(BaseModel):
    """A skipped step whose effect is still missing or still there, with the states at the services."""

    subject: str
    step: str
    actor: str
    reason: str
    decided_at: datetime
    figures: dict[str, int | str | None]


class Report(BaseModel):
    """The result of an audit."""

    clean: bool
    """Whether there are no violations."""
    orders: int
    checks: dict[Invariant, int]
    """The number of violations of each invariant."""
    violations: list[Violation]
    skips: list[DecidedSkip]
    """Findings that are no violations, because an operator has decided them."""

    @classmethod
    def of(cls, orders: int, violations: list[Violation], skips: Sequence[DecidedSkip] = ()) -> Self:
        checks = dict.fromkeys(Invariant, 0)
        for violation in violations:
            checks[violation.invariant] += 1
        clean = not violations
        return cls(clean=clean, orders=orders, checks=checks, violations=violations, skips=list(skips))
