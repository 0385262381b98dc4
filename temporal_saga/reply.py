"""Reading of a service's reply by the workflow itself: an unreadable reply is an unknown outcome, not a failed task.

The SDK would fail the workflow *task* for such a reply, again and again, and the deadline, a cancel and the desk would
have no effect. Which replies a build can read depends on the build, but a replay must decide as the first execution
did. So a patch marker in the history records that a reply was unreadable; a later build finds it and does not try.
"""

import asyncio
from collections import Counter
from typing import Any, cast
from weakref import WeakKeyDictionary

from temporalio import workflow
from temporalio.common import RawValue

from temporal_saga.operation import Operation, Reply
from temporal_saga.outcome import UNREADABLE_REPLY, Done, Unknown, first_line

_LONGEST_REASON = 200
_MAY_BE_ANYTHING = (Any, object, bytes, type(None))

_read: WeakKeyDictionary[asyncio.AbstractEventLoop, Counter[str]] = WeakKeyDictionary()
"""How many replies of each operation a workflow has read. Every workflow has its own event loop."""


def read(operation: Operation[Any, Reply], raw: RawValue | None) -> Done[Reply] | Unknown:
    """Return the reply of a done call, or an unknown outcome if this build or an earlier one cannot read it."""
    unreadable = Unknown(UNREADABLE_REPLY, f"{operation.name} has answered, but the reply could not be read", 1)
    marker = _marker(operation.name)
    if workflow.unsafe.is_replaying() and workflow.patched(marker):
        return unreadable
    try:
        return Done(as_declared(raw, operation.reply))
    except ValueError as error:
        if not workflow.patched(marker):
            raise RuntimeError(f"{operation.name}: an earlier build has read this reply, and this one cannot") from None
        told = "%s: a reply of %s cannot be read: %s"
        workflow.logger.error(told, workflow.info().workflow_id, operation.name, error)
        return unreadable


def as_declared(raw: RawValue | None, declared: type[Reply]) -> Reply:
    """Return the value of `raw`. Raises `ValueError` with one line that quotes nothing of it."""
    try:
        value = None if raw is None else workflow.payload_converter().from_payload(raw.payload, declared)
    except (ValueError, TypeError, LookupError) as error:
        raise ValueError(first_line(error)[:_LONGEST_REASON]) from None
    # The converter returns an empty payload, and one that is not JSON, as it is, whatever type is declared.
    if isinstance(value, bytes | None) and isinstance(declared, type) and declared not in _MAY_BE_ANYTHING:
        raise ValueError("it is empty" if value is None else "it is not JSON")
    return cast("Reply", value)


def _marker(operation: str) -> str:
    counted = _read.setdefault(asyncio.get_running_loop(), Counter())
    counted[operation] += 1
    return f"unreadable-reply/{operation}/{counted[operation]}"
