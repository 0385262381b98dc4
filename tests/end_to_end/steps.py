"""The steps that the crash matrix strikes: read from orders that the system has placed, so none can be forgotten."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True)
class Steps:
    """What an order calls: before the pivot, from the pivot on, and to undo it."""

    prepared: Sequence[str]
    promised: Sequence[str]
    undos: Sequence[str]

    @classmethod
    def read(cls, confirmed: dict[str, Any], rolled_back: dict[str, Any]) -> Self:
        """The steps in the outcome of an order with `REQUIRED`, and in that of one with `BOUNCES`."""
        prepared, [pivot] = _steps(confirmed, "step"), _steps(confirmed, "pivot")
        undos = _steps(rolled_back, "undo")
        assert {"payment.cancel", "inventory.release", "shipping.cancel", "order.cancel"} <= set(undos)
        return cls(prepared, [pivot, *_steps(confirmed, "finish")], undos)

    @property
    def pivot(self) -> str:
        return self.promised[0]

    def __iter__(self) -> Iterator[str]:
        return iter([*self.prepared, *self.promised, *self.undos])


def _steps(document: dict[str, Any], kind: str) -> list[str]:
    return [entry["step"] for entry in document["steps"] if entry["kind"] == kind]
