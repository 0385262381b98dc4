"""The operations by which ended transactions leave the services' databases, the same for each service.

They are no steps of a transaction, so `contracts.catalogue.OPERATIONS` does not have them.
"""

from enum import StrEnum
from typing import Annotated

from pydantic import AwareDatetime, Field, StrictInt

from contracts.catalogue import SERVICES
from contracts.message import Message, Reply
from temporal_saga import Operation

MAX_BATCH = 500
"""Limit on the transactions of one batch: their rows are deleted within a tenth of an attempt's timeout."""
MAX_IDS = MAX_BATCH * 11
"""Limit on the ids of a batch: a transaction has at most ten steps, and each may have named a part of its own."""


class ListOld(Message):
    """Query for the transactions whose newest row in the fence is older than `before`: a page of `rows` fence rows."""

    before: AwareDatetime
    after: str = ""
    rows: Annotated[int, Field(strict=True, ge=100, le=10_000)] = 5_000


class OldTransactions(Reply):
    transaction_ids: tuple[str, ...]
    young_parts: tuple[str, ...] = ()
    """Parts (`t-1/goods`) that are not old: the transaction that they belong to is not old either."""
    next: str | None = None
    """The id after which the next page begins; `None` after the last page."""


class RetireStage(StrEnum):
    EXAMINE = "EXAMINE"
    """Only say which transactions must stay."""
    REFUSE = "REFUSE"
    """From now on refuse each operation of the transactions, with RETIRED: of orders everywhere, of other transactions
    at the services that know them."""
    REMOVE = "REMOVE"
    """Refuse, and remove all rows of the transactions."""


class Retire(Message):
    """One stage for a batch of transactions; each whole transaction comes with its parts. Repeating it is harmless."""

    transaction_ids: Annotated[tuple[str, ...], Field(min_length=1, max_length=MAX_IDS)]
    before: AwareDatetime
    stage: RetireStage


class Stays(StrEnum):
    """Why a transaction stays at a service."""

    HOLDS = "HOLDS"
    """It holds stock, money or a shipment, or its order has no end."""
    YOUNG = "YOUNG"


class Retired(Reply):
    staying: dict[str, Stays] = Field(default_factory=dict)
    """The transactions of which the service has removed nothing, because they must stay."""
    refused: tuple[str, ...] = ()
    """Those whose operations the service refuses by now."""
    coordinators: dict[str, str] = Field(default_factory=dict)
    """The workflows that coordinated orders, where these are not the orders' own. The order service knows them."""
    rows: StrictInt = 0
    """The number of rows removed."""


LIST_OLD: dict[str, Operation[ListOld, OldTransactions]] = {
    service.QUEUE: Operation(f"{service.QUEUE}.list_old", ListOld, OldTransactions, queue=service.QUEUE)
    for service in SERVICES
}
RETIRE: dict[str, Operation[Retire, Retired]] = {
    service.QUEUE: Operation(f"{service.QUEUE}.retire", Retire, Retired, queue=service.QUEUE) for service in SERVICES
}
