"""The choreography of an order: its events, and on one screen which service reacts to which of them, and how.

No orchestrator: each service has a participant, a workflow of its own for each order on its own task queue, that hears
events, calls its own service and says what came of it. The order service alone decides, in one local transaction: it
confirms an order that everybody is ready for, and cancels it for any other reason. A failure elsewhere is not yet a
decision, so the others undo their part when they hear that the order was cancelled.

Events carry the order along, so a participant can begin, or begin again, with whichever it hears first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, StrictBool

from contracts import inventory, notification, order, payment, shipping
from contracts.message import Message, Reply, Request, TransactionId
from contracts.order import NotificationMode, Order, RollbackCause
from saga import Operation, TransactionLog


class Fact(StrEnum):
    """What can have happened, in the words of the business."""

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


class Event(Message):
    """A fact about one order. A fact happens to an order once, so both together are its id: derived, never random.

    `cause` says why, where the fact leads to a rollback. `caused_by` is the id of the event that this one follows,
    empty for those that come from outside. `skipped`: an operator has left the call behind it undone.
    """

    transaction_id: TransactionId
    fact: Fact
    order: Order
    cause: RollbackCause | None = None
    caused_by: str = ""
    skipped: StrictBool = False

    @property
    def event_id(self) -> str:
        return f"{self.transaction_id}/{self.fact}"


def _known(events: Any) -> Any:
    """Without the facts of later builds: no participant of this one would react to them, and the rest is for it."""
    if not isinstance(events, list):
        return events
    return [each for each in events if not (isinstance(each, dict) and each.get("fact") not in set(Fact))]


Events = Annotated[tuple[Event, ...], BeforeValidator(_known)]


@dataclass(frozen=True)
class Reaction:
    """When all of `after`, or any of `on`, has happened: call `does`, and say `says`, or else `or_says`.

    `until` is what must have happened before the participant may end. What is `best_effort` may fail unnoticed, but is
    said to have ended.
    """

    does: Operation[Any, Any] | None
    says: Fact
    or_says: Fact | None = None
    after: frozenset[Fact] = frozenset()
    on: frozenset[Fact] = frozenset()
    until: frozenset[Fact] = frozenset()
    best_effort: bool = False

    @property
    def hears(self) -> frozenset[Fact]:
        return self.after | self.on | self.until

    def is_due(self, happened: Mapping[Fact, Event]) -> bool:
        return (bool(self.after) and self.after <= happened.keys()) or not self.on.isdisjoint(happened)


@dataclass(frozen=True)
class Part:
    """What a service does for an order: its step, and then either the finish or the undo. `decides`: which of the two
    it is, for everybody; its call may then be refused by what was decided before."""

    forward: Reaction | None
    finish: Reaction
    undo: Reaction
    decides: bool = False

    @property
    def reactions(self) -> tuple[Reaction, ...]:
        return (*((self.forward,) if self.forward else ()), self.finish, self.undo)

    @property
    def hears(self) -> frozenset[Fact]:
        return frozenset().union(*(reaction.hears for reaction in self.reactions))


Parts = dict[str, Part]


def _parts() -> Parts:
    f = Fact
    confirmed, cancelled = frozenset({f.ORDER_CONFIRMED}), frozenset({f.ORDER_CANCELLED})
    created, held = frozenset({f.ORDER_CREATED}), frozenset({f.PAYMENT_AUTHORIZED, f.STOCK_RESERVED})
    ready = held | {f.SHIPMENT_SCHEDULED}
    failures = frozenset({f.PAYMENT_FAILED, f.STOCK_FAILED, f.SHIPMENT_FAILED, f.NOTIFICATION_FAILED})
    trouble = failures | {f.ORDER_NOT_CREATED, f.ORDER_NOT_CONFIRMED, f.CANCELLATION_REQUESTED, f.DEADLINE_PASSED}
    finished = frozenset({f.PAYMENT_CAPTURED, f.STOCK_COMMITTED, f.SHIPMENT_DISPATCHED})
    undone = frozenset({f.PAYMENT_CANCELLED, f.STOCK_RELEASED, f.SHIPMENT_CANCELLED})
    told = frozenset({f.NOTIFICATION_ENDED})
    return {
        "order": Part(
            Reaction(order.create, f.ORDER_CREATED, f.ORDER_NOT_CREATED, after=frozenset({f.ORDER_PLACED})),
            # What follows from a decision tells of it, to one who begins again when the others have ended.
            Reaction(order.confirm, f.ORDER_CONFIRMED, f.ORDER_NOT_CONFIRMED, ready, finished, until=finished | told),
            Reaction(order.cancel, f.ORDER_CANCELLED, on=trouble | undone, until=undone | told),
            decides=True,
        ),
        "payment": Part(
            Reaction(payment.authorize, f.PAYMENT_AUTHORIZED, f.PAYMENT_FAILED, after=created),
            Reaction(payment.capture, f.PAYMENT_CAPTURED, after=confirmed),
            Reaction(payment.cancel, f.PAYMENT_CANCELLED, on=cancelled),
        ),
        "inventory": Part(
            Reaction(inventory.reserve, f.STOCK_RESERVED, f.STOCK_FAILED, after=created),
            Reaction(inventory.commit, f.STOCK_COMMITTED, after=confirmed),
            Reaction(inventory.release, f.STOCK_RELEASED, on=cancelled),
        ),
        "shipping": Part(
            Reaction(shipping.schedule, f.SHIPMENT_SCHEDULED, f.SHIPMENT_FAILED, after=held),
            Reaction(shipping.dispatch, f.SHIPMENT_DISPATCHED, after=confirmed),
            Reaction(shipping.cancel, f.SHIPMENT_CANCELLED, on=cancelled),
        ),
        "notification": Part(
            None,
            Reaction(notification.send_confirmation, f.NOTIFICATION_ENDED, after=confirmed, best_effort=True),
            Reaction(notification.send_cancellation, f.NOTIFICATION_ENDED, on=cancelled, best_effort=True),
        ),
    }


def _parts_with_required_notification() -> Parts:
    """As above, but the customer is told before the order is confirmed."""
    parts, f = _parts(), Fact
    decider, letter = parts["order"], notification.send_confirmation
    ready = decider.finish.after
    confirm = replace(decider.finish, after=ready | {f.CUSTOMER_NOTIFIED})
    notifier = Part(
        Reaction(letter, f.CUSTOMER_NOTIFIED, f.NOTIFICATION_FAILED, after=ready),
        Reaction(None, f.NOTIFICATION_ENDED, after=frozenset({f.ORDER_CONFIRMED})),
        Reaction(notification.send_cancellation, f.NOTIFICATION_ENDED, on=frozenset({f.ORDER_CANCELLED})),
    )
    return parts | {"order": replace(decider, finish=confirm), "notification": notifier}


CHOREOGRAPHY: dict[NotificationMode, Parts] = {
    NotificationMode.BEST_EFFORT: _parts(),
    NotificationMode.REQUIRED: _parts_with_required_notification(),
}
"""Who does what, by what was agreed about the notification."""
PARTICIPANTS = tuple(_parts())
PUBLISHER: dict[Fact, str] = {
    fact: service
    for parts in CHOREOGRAPHY.values()
    for service, part in parts.items()
    for reaction in part.reactions
    for fact in (reaction.says, reaction.or_says)
    if fact is not None
}
"""Who says it. Nobody, where it comes from outside: the placing, the cancellation, the clock."""


def subscribers(event: Event) -> tuple[str, ...]:
    parts = CHOREOGRAPHY[event.order.notification]
    return tuple(service for service, part in parts.items() if event.fact in part.hears)


class Publish(Request):
    """Make `event` known to the participants of the services `to`."""

    event: Event
    to: Annotated[tuple[str, ...], Field(min_length=1, max_length=len(PARTICIPANTS))]


class Published(Reply):
    """`last_words`: all that was said by subscribers that have ended, so that nobody waits for them."""

    last_words: Events = ()


class Participation(Message):
    """How a participant ends: what it did, and what it said."""

    log: TransactionLog
    said: Events


PUBLISHING: dict[Fact, Operation[Publish, Published]] = {
    fact: Operation(f"{service}.publish.{fact}", Publish, Published, queue=service)
    for fact, service in (PUBLISHER | {Fact.ORDER_PLACED: "order"}).items()
}
"""An operation for each event that a participant may say, also for another: served by the worker of the service whose
event it is."""
