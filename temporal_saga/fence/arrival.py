"""A request that arrives at the fence of a service: its key, what it asks for, and its reply as JSON."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from temporalio.converter import JSONTypeConverter, value_to_type
from temporalio.exceptions import ApplicationError

from temporal_saga.fence.digest import as_json, canonical, digest
from temporal_saga.fence.rules import ActedOn, Asked, Kept, OperationState, is_part_of
from temporal_saga.operation import Operation
from temporal_saga.outcome import UNREADABLE_REPLY, Refusal, first_line

INVALID_REQUEST = "INVALID_REQUEST"
"""The fence refuses a key that is empty, or too long for its table."""
LONGEST = 255
"""Characters of each half of a key: an index of MySQL takes both."""


class Key(NamedTuple):
    """The idempotency key `<transaction id>/<step>` of a call without an `Operation`, and whether the call is an undo.

    The caller gives the transaction id, the same one with each attempt: the id of its workflow, for example, and never
    a run id, which changes when the workflow is reset.
    """

    transaction_id: str | None
    """`None`, as Temporal has it for an activity without a workflow, is refused."""
    step: str
    undo: bool = False


@dataclass(frozen=True)
class Arrival:
    transaction_id: str
    asked: Asked
    request: Any
    reply_type: Any
    nothing: str
    """The reply of an undo that finds nothing to undo, as JSON."""
    acts_on: Operation[Any, Any] | None = None
    has_type_of_acted_on: bool = False

    @classmethod
    def of(cls, call: Operation[Any, Any] | Key, request: Any, nothing: Any) -> Self:
        """Raises a `Refusal` for a key that no table has room for, and `TypeError` for a call that is wrong."""
        hashed, text = digest(request), as_json(nothing)
        if isinstance(call, Key):
            asked = Asked(call.step, call.step, hashed, is_undo=call.undo)
            arrival = cls(call.transaction_id or "", asked, request, Any, text)
        else:
            asked = Asked(call.name, call.step, hashed, is_undo=call.undoes is not None)
            same_type = call.acts_on is not None and call.acts_on.request is call.request
            arrival = cls(_transaction_id(request), asked, request, call.reply, text, call.acts_on, same_type)
        arrival._check()
        return arrival

    def _check(self) -> None:
        for half, text in (("transaction id", self.transaction_id), ("step", self.asked.step)):
            if not 1 <= len(text) <= LONGEST:
                raise Refusal(INVALID_REQUEST, f"the {half} has {len(text)} characters: it must have 1 to {LONGEST}")
        if self.asked.is_undo and not self._is_reply(self.nothing):
            name = getattr(self.reply_type, "__name__", self.reply_type)
            raise TypeError(f"{self.asked.operation} replies with {name}: give its reply to an undo of `nothing`, too")

    @property
    def needs_reply(self) -> bool:
        """Whether the declared type of the reply has no `None`."""
        return not self._is_reply("null")

    def written(self, reply: Any) -> str:
        """The reply as JSON. Raises `TypeError` if it could not be read for a repeated request."""
        text = as_json(reply)
        try:
            self._typed(text)
        except (ValueError, TypeError) as error:
            raise TypeError(f"{self.asked.operation} has a reply that cannot be kept: {first_line(error)}") from None
        return text

    def _is_reply(self, text: str) -> bool:
        try:
            self._typed(text)
        except (ValueError, TypeError):
            return False
        return True

    def read(self, kept: str) -> Any:
        """The kept reply, of the declared type. Raises a retryable UNREADABLE_REPLY: another build may read it."""
        try:
            return self._typed(kept)
        except (ValueError, TypeError) as error:
            message = f"{self.asked.operation} was done, but its kept reply cannot be read: {first_line(error)}"
            raise ApplicationError(message, type=UNREADABLE_REPLY) from None

    def _typed(self, text: str) -> Any:
        return value_to_type(self.reply_type, json.loads(text), [_Models()])

    def acted_on(self, earlier: Kept | None) -> ActedOn | None:
        """What the rules must know of the record `earlier` of the operation that this one acts on."""
        if self.acts_on is None:
            return None
        is_same = False
        if earlier is not None and self.has_type_of_acted_on:
            is_same = self.asked.digest == earlier.digest
        elif earlier is not None and earlier.state is OperationState.DONE:
            replied = json.loads(earlier.answer)
            fields = replied if isinstance(replied, dict) else {}
            asked = json.loads(canonical(self.request))
            is_same = is_part_of(asked, fields | {"transaction_id": self.transaction_id})
        return ActedOn(self.acts_on.name, earlier, is_same=is_same)


class _Models(JSONTypeConverter):
    """Pydantic models, which Temporal's own conversion leaves to its converter for pydantic."""

    def to_typed_value(self, hint: type, value: Any) -> Any:
        validate = getattr(hint, "model_validate_json", None)
        return self.Unhandled if validate is None else validate(json.dumps(value))


def _transaction_id(request: Any) -> str:
    found = request.get("transaction_id") if isinstance(request, Mapping) else getattr(request, "transaction_id", None)
    if not isinstance(found, str):
        raise TypeError(
            f"a {type(request).__name__} has no `transaction_id`: give the fence a `Key` in place of the operation"
        )
    return found
