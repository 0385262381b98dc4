"""Typed declarations of what services do: all that a workflow and a service share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

Request = TypeVar("Request")
Reply = TypeVar("Reply")


@dataclass(frozen=True)
class Operation(Generic[Request, Reply]):
    """One operation of one service: the name of its activity, its types, and the task queue that serves it.

    `name` is `<service>.<verb>`. An undo names the operation that it `undoes` and takes the same request, so that it
    can run without knowing whether that operation took effect: both have the same idempotency key.

    An operation that changes what an earlier operation of its transaction made names that as `acts_on`. It takes the
    same request, or one with fields from the earlier reply only. The service refuses a request that differs.
    """

    name: str
    request: type[Request]
    reply: type[Reply]
    queue: str
    undoes: Operation[Request, Any] | None = None
    acts_on: Operation[Any, Any] | None = None

    def __post_init__(self) -> None:
        if self.acts_on is not None and self.acts_on.queue != self.queue:
            raise TypeError(f"{self.name} cannot act on {self.acts_on.name}, which has another queue")
        if self.undoes is not None and self.undoes.request is not self.request:
            raise TypeError(f"{self.name} must take the request of {self.undoes.name}, which it undoes")

    @property
    def service(self) -> str:
        return self.name.partition(".")[0]

    @property
    def step(self) -> str:
        """The second half of the idempotency key `<transaction id>/<step>`, shared by an operation and its undo."""
        return self.undoes.name if self.undoes is not None else self.name
