"""The form of the sample requests in `samples`, from which the tests of every operation are generated."""

from dataclasses import dataclass

from contracts.errors import Code
from contracts.message import Request

from .service_harness import Call, Operations

OTHER_TX = "order/o-2"


@dataclass(frozen=True)
class Refused:
    """A request that is refused with `code` after `before`; `remedy` removes the reason, if anything can."""

    code: Code
    request: Request
    before: tuple[Call, ...] = ()
    remedy: tuple[Call, ...] = ()


@dataclass(frozen=True)
class Sample:
    """A request that is accepted after `before`, and another request under the same key."""

    operation: Operations
    request: Request
    other: Request
    before: tuple[Call, ...] = ()
    refused: Refused | None = None
    """`None` for an operation that never says no."""
