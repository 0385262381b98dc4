"""What an audit finds, as a document."""

from __future__ import annotations

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


class Report(BaseModel):
    """`checks` counts the violations of each invariant; `clean` means there are none."""

    clean: bool
    orders: int
    checks: dict[Check, int]
    violations: list[Violation]

    @classmethod
    def of(cls, orders: int, violations: list[Violation]) -> Report:
        checks = dict.fromkeys(Check, 0)
        for violation in violations:
            checks[violation.invariant] += 1
        return cls(clean=not violations, orders=orders, checks=checks, violations=violations)
