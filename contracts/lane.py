"""What enters a serial lane, what it carries from run to run, and what it shows."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import Field, StrictBool, StrictInt

from contracts.ids import transaction_workflow_id
from contracts.message import Id, Message, Reply
from contracts.order import WORKFLOWS_QUEUE
from saga import Operation

GLOBAL = "global"
"""The lane of whoever names none."""
MAX_WAITING_BYTES = 1_500_000
"""Of waiting entries as JSON. A run hands them all to the next one in one payload, which ends at 2 MiB."""
MAX_REMEMBERED = 200
"""Refused entries that the lane still tells of: those of the clients that are asking right now."""
MAX_LISTED = 100
"""Waiting transactions that are shown by name; how many there are is told in any case."""
EVENTS_A_RUN = 4_000
"""History events after which a run continues as new: where the server suggests it, and a thirteenth of its limit."""


class LaneEntry(Message):
    """`size` is the length of the document in JSON. `resumed`: its workflow was closed without an end."""

    transaction_id: Id
    document: dict[str, Any]
    size: Annotated[int, Field(strict=True, ge=2)]
    resumed: StrictBool = False

    @property
    def workflow_id(self) -> str:
        return transaction_workflow_id(self.transaction_id)

    @property
    def carried_bytes(self) -> int:
        """At most what it adds to the payload that a run hands to the next: of a small document, mostly the rest."""
        return self.size + 2 * len(self.transaction_id) + 64


class Holder(Message):
    """The transaction that runs now, and since when."""

    transaction_id: Id
    since: datetime


class LaneState(Message):
    """What a run begins with: nothing, or what the run before it handed over."""

    waiting: tuple[LaneEntry, ...] = ()
    holder: Holder | None = None
    refused: tuple[str, ...] = ()
    events_a_run: Annotated[int, Field(strict=True, ge=10)] = EVENTS_A_RUN


class LaneView(Message):
    """`waiting` are the first in line, `count` is how many there are, `refused` who found the lane full."""

    holder: Holder | None
    waiting: tuple[str, ...]
    count: StrictInt
    refused: tuple[str, ...]


class AwaitClose(Message):
    workflow_id: str


class Closed(Reply):
    pass


await_close = Operation("lane.await_close", AwaitClose, Closed, queue=WORKFLOWS_QUEUE)
"""Returns when the workflow is closed, in whatever way: for one that the lane is not, or no longer, the parent of."""
