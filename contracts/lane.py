"""The messages of a serial lane: its entries, its state from run to run, and its view."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import Field, StrictBool, StrictInt

from contracts.ids import transaction_workflow_id
from contracts.message import Id, Message, Reply
from contracts.order import WORKFLOWS_QUEUE
from temporal_saga import Operation

GLOBAL = "global"
"""The lane of a transaction for which the client names none."""
MAX_WAITING_BYTES = 1_500_000
"""Limit on the JSON of all waiting entries. A run passes them to the next run in one payload, at most 2 MiB."""
MAX_REMEMBERED = 200
"""Refused entries that the lane still shows, for the clients that wait for an answer."""
MAX_LISTED = 100
"""Waiting transactions that the lane shows by name; it always shows how many there are."""
EVENTS_A_RUN = 4_000
"""History events after which a run continues as new: the number at which the server suggests it, a thirteenth of its
limit."""


class LaneEntry(Message):
    transaction_id: Id
    document: dict[str, Any]
    size: Annotated[int, Field(strict=True, ge=2)]
    """The length of the document as JSON."""
    resumed: StrictBool = False
    """Whether its workflow was closed before the transaction had ended."""

    @property
    def workflow_id(self) -> str:
        return transaction_workflow_id(self.transaction_id)

    @property
    def carried_bytes(self) -> int:
        """An upper bound on its share of the payload between two runs, with the names and brackets around it."""
        return self.size + 2 * len(self.transaction_id) + 64


class Holder(Message):
    """The transaction that runs, and since when."""

    transaction_id: Id
    since: datetime


class LaneState(Message):
    """The input of a run: empty for the first one, later the state of the run before."""

    waiting: tuple[LaneEntry, ...] = ()
    holder: Holder | None = None
    refused: tuple[str, ...] = ()
    events_a_run: Annotated[int, Field(strict=True, ge=10)] = EVENTS_A_RUN


class LaneView(Message):
    holder: Holder | None
    waiting: tuple[str, ...]
    """The next transactions, at most `MAX_LISTED`."""
    count: StrictInt
    """How many transactions wait."""
    refused: tuple[str, ...]
    """The last transactions for which the lane was full."""


class AwaitClose(Message):
    workflow_id: str


class Closed(Reply):
    pass


await_close = Operation("lane.await_close", AwaitClose, Closed, queue=WORKFLOWS_QUEUE)
"""Returns when the workflow is closed, in any way. The lane needs it for a workflow that is not its run's child."""
