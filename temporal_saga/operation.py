"""Typed declarations of what services do: all that a workflow and a service share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar, overload

from temporalio import activity

Request = TypeVar("Request")
Reply = TypeVar("Reply")


@dataclass(frozen=True)
class Operation(Generic[Request, Reply]):
    """One operation of one service: the name of its activity, its types, and the task queue that serves it.

    `name` is `<service>.<verb>`. Without a `queue` it is served on the workflow's own.

    An undo names the operation that it `undoes` and takes the same request, so that it can run without knowing whether
    that operation took effect: both have the same idempotency key. An undo that `takes_reply` has a second argument:
    the reply to that operation, or `None` where the saga does not know it (it was lost, another execution got it, or an
    operator has replaced the request). It must undo without it too.

    An operation that changes what an earlier operation of its transaction made names that as `acts_on`. It takes the
    same request, or one with fields from the earlier reply only. The service refuses a request that differs.
    """

    name: str
    request: type[Request]
    reply: type[Reply]
    queue: str = ""
    undoes: Operation[Request, Any] | None = None
    acts_on: Operation[Any, Any] | None = None
    takes_reply: bool = False

    def __post_init__(self) -> None:
        if self.acts_on is not None and self.acts_on.queue != self.queue:
            raise TypeError(f"{self.name} cannot act on {self.acts_on.name}, which has another queue")
        if self.undoes is not None and self.undoes.request is not self.request:
            raise TypeError(f"{self.name} must take the request of {self.undoes.name}, which it undoes")

    @overload
    @staticmethod
    def of(call: Call[Request, Reply], *, queue: str = "") -> Operation[Request, Reply]: ...
    @overload
    @staticmethod
    def of(call: Callable[[Request], Reply], *, queue: str = "") -> Operation[Request, Reply]: ...
    @staticmethod
    def of(call: Any, *, queue: str = "") -> Operation[Any, Any]:
        """The declaration of an activity that takes one argument: a function or method with `@activity.defn`.

        Its name and types are those that Temporal finds. A declaration is returned as it is, without `queue`. Raises
        `TypeError` for anything else.
        """
        operation = _declared(call, queue)
        if operation.takes_reply:
            raise TypeError(
                f"{operation.name} takes two arguments: only an undo gets the reply of its step as a second"
            )
        return operation

    @staticmethod
    def undo_of(call: UndoCall[Request], *, queue: str = "") -> Operation[Request, Any]:
        """As `of`, for an undo: an activity with two arguments `takes_reply`."""
        return _declared(call, queue)

    @property
    def service(self) -> str:
        return self.name.partition(".")[0]

    @property
    def step(self) -> str:
        """The second half of the idempotency key `<transaction id>/<step>`, shared by an operation and its undo."""
        return self.undoes.name if self.undoes is not None else self.name


def _declared(call: Any, queue: str) -> Operation[Any, Any]:
    if isinstance(call, Operation):
        return call
    found = activity._Definition.from_callable(call)  # as workflow.execute_activity finds it
    if found is None or found.name is None:
        raise TypeError(f"{call!r} is no activity with a name: it needs @activity.defn, or an Operation")
    types: list[Any] = found.arg_types or [Any]
    return Operation(found.name, types[0], found.ret_type or Any, queue, takes_reply=len(types) == 2)


Call: TypeAlias = (
    Operation[Request, Reply] | Callable[[Request], Awaitable[Reply]] | Callable[[Any, Request], Awaitable[Reply]]
)
"""What a saga can call: a declared operation, or an activity that takes one argument, as function or method. A type
checker sees through `async def` only; around another activity put `Operation.of`, which changes nothing else."""
UndoCall: TypeAlias = (
    Operation[Request, Any]
    | Callable[[Request], Awaitable[Any]]
    | Callable[[Any, Request], Awaitable[Any]]
    | Callable[[Request, Any], Awaitable[Any]]
    | Callable[[Any, Request, Any], Awaitable[Any]]
)
"""What can undo a step: a `Call`, or one that takes the reply of the step as a second argument (`takes_reply`)."""
