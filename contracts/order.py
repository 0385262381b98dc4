"""The order document, and the operations of the order service."""

from enum import StrEnum
from typing import Annotated, Self

from pydantic import AfterValidator, AwareDatetime, Field, StrictBool, model_validator

from contracts.countries import WITHOUT_POSTCODE, iso_3166
from contracts.ids import order_workflow_id
from contracts.message import (
    TEXT_PATTERN,
    AmountMinor,
    Currency,
    Id,
    InWords,
    ListOpen,
    Message,
    OpenTransactions,
    Quantity,
    Reply,
    Request,
    Sku,
    Text,
    TransactionId,
    Unreadable,
    WorkflowId,
)
from temporal_saga import Announcement, Failure, Operation

QUEUE = "order"
WORKFLOWS_QUEUE = "orders"
"""The task queue of the workflows. Every service has a task queue of its own name."""
MAX_LINES = 100
"""Limit that keeps the largest order under 20 kB, a hundredth of Temporal's payload limit."""


class NotificationMode(StrEnum):
    BEST_EFFORT = "best_effort"
    REQUIRED = "required"


class OrderLine(Message):
    sku: Sku
    quantity: Quantity
    unit_price_minor: Annotated[int, Field(strict=True, ge=0, le=10**9)]


class Address(Message):
    name: Text
    street: Text
    city: Text
    postcode: (
        Annotated[
            str,
            Field(pattern=TEXT_PATTERN, max_length=16),
            InWords("must be text of 1 to 16 characters; leave it out where the country has no postcodes"),
        ]
        | None
    ) = None
    """Absent only in a country without postcodes."""
    country: Annotated[str, AfterValidator(iso_3166)]

    @model_validator(mode="after")
    def _has_a_postcode(self) -> Self:
        if self.postcode is None and self.country not in WITHOUT_POSTCODE:
            raise ValueError(f"postcode: is missing, and {self.country} has postcodes")
        return self


class Contact(Message):
    email: Annotated[
        str,
        Field(max_length=254, pattern=r"^[^@\s\p{C}\p{Z}]+@[^@\s.\p{C}\p{Z}]+(\.[^@\s.\p{C}\p{Z}]+)+$"),
        InWords("must be an e-mail address such as ada@example.com, of at most 254 characters"),
    ]
    phone: Annotated[
        str,
        Field(pattern=r"^\+[1-9][0-9]{6,14}$"),
        InWords("must be a phone number in international form (E.164), such as +442071234567, without spaces"),
    ]


class Order(Message):
    """The order document, as a customer places it."""

    order_id: Id
    customer_id: Id
    currency: Currency
    lines: Annotated[tuple[OrderLine, ...], Field(min_length=1, max_length=MAX_LINES)]
    ship_to: Address
    contact: Contact
    notification: NotificationMode = NotificationMode.BEST_EFFORT
    deadline_s: Annotated[float, Field(strict=True, ge=0.1, le=3600)] = 60
    """Seconds until the order must be confirmed; it is rolled back otherwise."""

    @model_validator(mode="after")
    def _each_sku_once(self) -> Self:
        skus = [line.sku for line in self.lines]
        twice = sorted({sku for sku in skus if skus.count(sku) > 1})
        if twice:
            raise ValueError(f"sku {twice[0]} is on two lines: add up the quantities on one")
        return self

    @property
    def total_minor(self) -> int:
        return sum(line.quantity * line.unit_price_minor for line in self.lines)

    @property
    def transaction_id(self) -> str:
        """The id of the order's one transaction, which is also the id of its workflow."""
        return order_workflow_id(self.order_id)


class OrderState(StrEnum):
    PENDING = "PENDING"
    CONFIRMED = "CONFIRMED"
    CANCELLED = "CANCELLED"


class RollbackCause(Message):
    """The reason to roll an order back, where it was decided before the workflow that does it was started."""

    code: str
    message: str
    step: str | None = None

    @classmethod
    def of(cls, failure: Failure) -> Self:
        return cls(code=failure.code, message=failure.message, step=failure.step)

    @property
    def failure(self) -> Failure:
        return Failure(self.code, self.message, self.step)


class OrderOptions(Message):
    """Options of an order's workflow, as part of its input: where it begins and how it calls the services."""

    recovering: StrictBool = False
    """Take over from an execution that was closed without an outcome."""
    cause: RollbackCause | None = None
    """Take over and roll back for this reason, unless the order turns out to be confirmed."""
    prepared: StrictBool = False
    """Continue at the pivot: every step before it is done."""
    coordinator: WorkflowId | None = None
    """See `CreateOrder`."""
    placed_at: AwareDatetime | None = None
    """Start of the deadline, if it is not the start of this workflow."""
    colocated: StrictBool = False
    """Call the services in the worker's process first. Such a call is a marker in the history, not an activity."""


class CreateOrder(Request):
    order: Order
    coordinator: WorkflowId | None = None
    """The workflow that decides about the order, if it is not the order's own. It is part of the request, so that the
    fence refuses the second of two coordinators."""


class ConfirmOrder(Request):
    order_id: Id


class OrderRecorded(Reply):
    order_id: Id
    state: OrderState
    total_minor: AmountMinor


class ReadOrders(Message):
    transaction_ids: Annotated[tuple[TransactionId, ...], Field(max_length=100)]


class OrderOnRecord(Message):
    """An order as it was placed, with its coordinator (see `CreateOrder`) and its state."""

    order: Order
    coordinator: WorkflowId | None
    state: OrderState
    has_skips: StrictBool = False
    """Whether a step that an operator skipped is on record (`RecordSkips`)."""


class OrdersOnRecord(Reply):
    orders: tuple[OrderOnRecord, ...]
    """The orders that the service knows, among those asked for."""
    unreadable: tuple[Unreadable, ...] = ()
    retired: dict[str, AwareDatetime] = Field(default_factory=dict)
    """The orders that were retired, and when: their ids cannot be used again."""


class SkippedStep(Message):
    """A step that an operator skipped: who decided it, why and when."""

    step: Annotated[str, Field(max_length=200)]
    actor: Annotated[str, Field(max_length=200)]
    reason: Annotated[str, Field(max_length=1000)]
    at: AwareDatetime


class RecordSkips(Request):
    """Record the skipped steps of a transaction. The first record of a step is kept."""

    skips: Annotated[tuple[SkippedStep, ...], Field(min_length=1, max_length=100)]


class TakenDecision(Message):
    """A decision that an operator took at the desk of a workflow: `retry`, `skip` or `fix`. `update_id` tells it from
    the others of that workflow, also when the workflow was reset."""

    workflow_id: Annotated[str, Field(max_length=255)]
    update_id: Annotated[str, Field(max_length=255)]
    transaction_id: Annotated[str, Field(max_length=255)]
    step: Annotated[str, Field(max_length=200)]
    decision: Annotated[str, Field(max_length=32)]
    actor: Annotated[str, Field(max_length=200)] | None = None
    reason: Annotated[str, Field(max_length=1000)] | None = None
    at: AwareDatetime


class RecordDecisions(Message):
    """Record operators' decisions. The first record of each is kept."""

    decisions: Annotated[tuple[TakenDecision, ...], Field(min_length=1, max_length=500)]


class ReadDecisions(Message):
    """Query for the newest recorded decisions, of all workflows or of those named."""

    workflow_ids: Annotated[tuple[str, ...], Field(max_length=100)] = ()
    limit: Annotated[int, Field(strict=True, ge=1, le=1000)] = 1000


class DecisionsOnRecord(Reply):
    decisions: tuple[TakenDecision, ...]


class Announce(Message):
    """Tell the world outside what has become of sagas; temporal_saga's `Announcements`."""

    announcements: Annotated[tuple[Announcement, ...], Field(min_length=1, max_length=500)]


create = Operation("order.create", CreateOrder, OrderRecorded, queue=QUEUE)
cancel = Operation("order.cancel", CreateOrder, OrderRecorded, queue=QUEUE, undoes=create)
confirm = Operation("order.confirm", ConfirmOrder, OrderRecorded, queue=QUEUE, acts_on=create)
list_open = Operation("order.list_open", ListOpen, OpenTransactions, queue=QUEUE)
read_orders = Operation("order.read_orders", ReadOrders, OrdersOnRecord, queue=QUEUE)
record_skips = Operation("order.record_skips", RecordSkips, Reply, queue=QUEUE)
record_decisions = Operation("order.record_decisions", RecordDecisions, Reply, queue=QUEUE)
read_decisions = Operation("order.read_decisions", ReadDecisions, DecisionsOnRecord, queue=QUEUE)
announce = Operation("order.announce", Announce, Reply, queue=QUEUE)
ANNOUNCES = "announces"
"""The entry of a workflow's memo by which its saga calls `announce`; without it, or with false, it does not."""
