"""Whether a workflow announces what becomes of its saga, as its starter has said."""

from typing import Any

from temporalio import workflow

from contracts.message import Reply
from contracts.order import ANNOUNCES, Announce, announce
from temporal_saga import Operation


def announced() -> Operation[Announce, Reply] | None:
    """The operation that this workflow's saga announces to; `None` where events are off."""
    return announce if workflow.memo_value(ANNOUNCES, default=False) else None


def memo_of_child() -> dict[str, Any]:
    """The memo of a workflow that this one starts: it announces if this one does."""
    return {ANNOUNCES: True} if announced() else {}
