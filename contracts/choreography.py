"""The events of an order without an orchestrator, their names, and the operations that publish them.

Each service has a participant: a workflow for each order, on the service's own task queue, that subscribes to events,
calls its own service and publishes an event about the result. The order service alone decides, in one local
transaction: it confirms an order that every service is ready for, and cancels it in any other case. A failure elsewhere
is not yet a decision; the other services undo their steps only after OrderCancelled.

Which service reacts to which event is not written here. `workflows/choreography.py` derives it from the plan of
`workflows/order.py`; this module adds what a plan does not have, the names of the events (`EVENTS`, `ENDS`). A service
that joins the order process names its events in its own contract (`facts`).

Every event contains the order, so a participant can start, or start again, with whichever event arrives first.
"""

from enum import StrEnum
from typing import Annotated, Any, NamedTuple

from pydantic import BeforeValidator, Field, StrictBool

from contracts import inventory, notification, order, payment, shipping
from contracts.catalogue import FACTS
from contracts.message import Message, Reply, Request, TransactionId
from contracts.order import Order, RollbackCause
from temporal_saga import Operation, TransactionLog


class Fact(StrEnum):
    """What an event reports, in the words of the business: those below, and the `facts` of the contracts."""

    _ignore_ = "_facts _names _name"
    ORDER_PLACED = "OrderPlaced"
    CANCELLATION_REQUESTED = "CancellationRequested"
    DEADLINE_PASSED = "DeadlinePassed"
    ORDER_CREATED = "OrderCreated"
    ORDER_NOT_CREATED = "OrderNotCreated"
    ORDER_CONFIRMED = "OrderConfirmed"
    ORDER_NOT_CONFIRMED = "OrderNotConfirmed"
    ORDER_CANCELLED = "OrderCancelled"
    PAYMENT_AUTHORIZED = "PaymentAuthorized"
    PAYMENT_FAILED = "PaymentFailed"
    PAYMENT_CAPTURED = "PaymentCaptured"
    PAYMENT_CANCELLED = "PaymentCancelled"
    STOCK_RESERVED = "StockReserved"
    STOCK_FAILED = "StockFailed"
    STOCK_COMMITTED = "StockCommitted"
    STOCK_RELEASED = "StockReleased"
    SHIPMENT_SCHEDULED = "ShipmentScheduled"
    SHIPMENT_FAILED = "ShipmentFailed"
    SHIPMENT_DISPATCHED = "ShipmentDispatched"
    SHIPMENT_CANCELLED = "ShipmentCancelled"
    CUSTOMER_NOTIFIED = "CustomerNotified"
    NOTIFICATION_FAILED = "NotificationFailed"
    NOTIFICATION_ENDED = "NotificationEnded"
    for _facts in FACTS.values():
        for _names in (*_facts.steps.values(), _facts.ends):
            for _name in dict.fromkeys(_names):
                vars()[_name] = _name


REQUESTS_TO_CANCEL = frozenset({Fact.CANCELLATION_REQUESTED, Fact.DEADLINE_PASSED})
"""Reasons to cancel an order that come from no service: a client and the clock."""


class CallEvents(NamedTuple):
    """The events of a step, or of the pivot."""

    done: Fact
    failed: Fact
    """It was refused, or its outcome is unknown."""


class EndEvents(NamedTuple):
    """The last event of a service: it has made all calls that follow the decision."""

    confirmed: Fact
    cancelled: Fact


EVENTS: dict[Operation[Any, Any], CallEvents] = {
    order.create: CallEvents(Fact.ORDER_CREATED, Fact.ORDER_NOT_CREATED),
    payment.authorize: CallEvents(Fact.PAYMENT_AUTHORIZED, Fact.PAYMENT_FAILED),
    inventory.reserve: CallEvents(Fact.STOCK_RESERVED, Fact.STOCK_FAILED),
    shipping.schedule: CallEvents(Fact.SHIPMENT_SCHEDULED, Fact.SHIPMENT_FAILED),
    notification.send_confirmation: CallEvents(Fact.CUSTOMER_NOTIFIED, Fact.NOTIFICATION_FAILED),
    order.confirm: CallEvents(Fact.ORDER_CONFIRMED, Fact.ORDER_NOT_CONFIRMED),
    **{step: CallEvents(*map(Fact, names)) for facts in FACTS.values() for step, names in facts.steps.items()},
}
ENDS: dict[str, EndEvents] = {
    "order": EndEvents(Fact.ORDER_CONFIRMED, Fact.ORDER_CANCELLED),
    "payment": EndEvents(Fact.PAYMENT_CAPTURED, Fact.PAYMENT_CANCELLED),
    "inventory": EndEvents(Fact.STOCK_COMMITTED, Fact.STOCK_RELEASED),
    "shipping": EndEvents(Fact.SHIPMENT_DISPATCHED, Fact.SHIPMENT_CANCELLED),
    "notification": EndEvents(Fact.NOTIFICATION_ENDED, Fact.NOTIFICATION_ENDED),
    **{service: EndEvents(*map(Fact, facts.ends)) for service, facts in FACTS.items()},
}
"""The last events, by service. The order's participant waits for them; it knows the decision, so both may be one."""
PARTICIPANTS = tuple(ENDS)
MAX_PARTICIPANTS = 100
"""Limit on the receivers of an event, many times the services: builds with more and with fewer run side by side."""
PUBLISHER: dict[Fact, str] = {
    fact: service
    for service, facts in (*((operation.service, events) for operation, events in EVENTS.items()), *ENDS.items())
    for fact in facts
}
"""The service that publishes a fact. OrderPlaced, CancellationRequested and DeadlinePassed come from no service."""


class Event(Message):
    """A fact about one order. Each fact happens to an order once, so the event's id is derived from the two."""

    transaction_id: TransactionId
    fact: Fact
    order: Order
    cause: RollbackCause | None = None
    """Why the order is to be rolled back, if the fact leads to that."""
    caused_by: str = ""
    """The id of the event that this one follows; empty if it comes from outside."""
    skipped: StrictBool = False
    """Whether an operator has skipped the call that this event reports."""

    @property
    def event_id(self) -> str:
        return f"{self.transaction_id}/{self.fact}"


def _known(events: Any) -> Any:
    """Leave out the facts of later builds: no participant of this build reacts to them, and the others are needed."""
    if not isinstance(events, list):
        return events
    return [event for event in events if not (isinstance(event, dict) and event.get("fact") not in set(Fact))]


Events = Annotated[tuple[Event, ...], BeforeValidator(_known)]


class Publish(Request):
    """Deliver `event` to the participants of the services `to`."""

    event: Event
    to: Annotated[tuple[str, ...], Field(min_length=1, max_length=MAX_PARTICIPANTS)]


class Published(Reply):
    """`final_events`: all events that completed subscribers had published, so that no participant waits for them."""

    final_events: Events = ()


class Participation(Message):
    """The result of a participant: its log and the events that it published."""

    log: TransactionLog
    published: Events


PUBLISHING: dict[Fact, Operation[Publish, Published]] = {
    fact: Operation(f"{service}.publish.{fact}", Publish, Published, queue=service)
    for fact, service in (PUBLISHER | {Fact.ORDER_PLACED: "order"}).items()
}
"""The operation that publishes an event, on the queue of the service whose event it is. Participants of other services
use it too, when they publish the final events of a completed participant again."""
