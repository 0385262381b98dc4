"""Events that arrive twice, late, out of order or never, and participants that are terminated: the end is the same.

Only the delivery of events is the test's; participants, services and databases are those of the product.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import product
from typing import Any
from uuid import uuid4

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowFailureError
from temporalio.service import RPCError

from client.engines.choreography import ChoreographyEngine
from client.errors import DuplicateOrder
from contracts import inventory, payment
from contracts.choreography import EVENTS, PARTICIPANTS, CallEvents, Event, Fact
from contracts.order import NotificationMode, Order
from runtime.events import EventBus
from temporal_saga import CallKind, Operation, Parked, Plan, Saga, Skip, State, Status, TransactionLog
from workflows import order as workflows_order
from workflows.order import Requests

from ..eventually import eventually_async
from ..roles import calls_in, roles_in
from .harness import Deliveries, Harness, Schedule, an_order

pytestmark = [
    pytest.mark.xdist_group("choreography"),
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(300),  # waits for participants to publish events again, for long on a busy machine
]

_POLE = {"name": "R. Amundsen", "street": "1 Pole", "city": "South Pole", "postcode": "0", "country": "AQ"}
ENDS: dict[str, tuple[dict[str, Any], State, str | None]] = {
    "confirmed": ({}, State.CONFIRMED, None),
    "notified-before": ({"notification": "required"}, State.CONFIRMED, None),
    "no-account": ({"customer_id": "c-none"}, State.ROLLED_BACK, "PAYMENT_DECLINED"),
    "no-shipment": ({"ship_to": _POLE, "notification": "required"}, State.ROLLED_BACK, "SHIPPING_UNAVAILABLE"),
}


def in_order(waiting: Deliveries) -> Deliveries:
    return [waiting.pop(0)] if waiting else []


def in_reverse(waiting: Deliveries) -> Deliveries:
    return [waiting.pop()] if waiting else []


def three_times(waiting: Deliveries) -> Deliveries:
    return in_order(waiting) * 3


def lost_at_first() -> Schedule:
    """Each event is lost the first time it is published to a subscriber."""
    lost: set[tuple[str, str]] = set()

    def schedule(waiting: Deliveries) -> Deliveries:
        deliveries = []
        for event, service in in_order(waiting):
            if (event.event_id, service) in lost:
                deliveries.append((event, service))
            lost.add((event.event_id, service))
        return deliveries

    return schedule


def at_random(dice: random.Random) -> Schedule:
    """Any event is the next, and is lost or delivered once or several times."""

    def schedule(waiting: Deliveries) -> Deliveries:
        if not waiting:
            return []
        return [waiting.pop(dice.randrange(len(waiting)))] * dice.choice((0, 1, 1, 1, 2, 3))

    return schedule


DELIVERIES: dict[str, Callable[[], Schedule]] = {
    "in order": lambda: in_order,
    "in reverse": lambda: in_reverse,
    "three times each": lambda: three_times,
    "lost at first": lost_at_first,
    "at random": lambda: at_random(random.Random(7)),  # noqa: S311 — repeatable on purpose
}


def _orders(end: str, count: int = 1) -> list[Order]:
    run = uuid4().hex[:8]
    return [an_order(f"o-{end}-{run}-{number}", **ENDS[end][0]) for number in range(count)]


def _ends(logs: list[TransactionLog]) -> list[tuple[State, str | None]]:
    return [(log.state, log.error.code if log.error else None) for log in logs]


@pytest.mark.parametrize(
    ("delivery", "ends"),
    [
        ("at random", ("notified-before",)),
        *(pytest.param(name, ENDS, marks=pytest.mark.chaos) for name in DELIVERIES),
    ],
)
async def test_however_events_arrive_every_order_ends_as_it_must(
    harness: Harness, delivery: str, ends: Iterable[str]
) -> None:
    logs = await harness.run([order for end in ends for order in _orders(end)], DELIVERIES[delivery])
    assert _ends(logs) == [ENDS[end][1:] for end in ends]
    for log in logs:  # each event was reacted to once; the log numbers what is called again: `payment.capture#2`
        assert [entry.step for entry in log.steps if "#" in entry.step] == []
    assert await harness.violations() == []


async def test_a_participant_whose_order_ends_while_it_publishes_again_completes(harness: Harness) -> None:
    """The publishing under way is abandoned and not followed by another: Temporal refuses a workflow task that has a
    command after the workflow's completion."""
    harness.broker.republish_s = 3
    lingered: list[Event] = []

    async def linger(event: Event, _: str) -> None:
        if event.fact is Fact.STOCK_RESERVED and not lingered:
            lingered.append(event)
            await asyncio.sleep(1.5)  # three times the pause before they publish again

    try:
        logs = await harness.run(_orders("confirmed"), lambda: in_order, linger)
    finally:
        harness.broker.republish_s = 0
    assert lingered
    for service in PARTICIPANTS:
        events = (
            ChoreographyEngine(harness.client).handle_of(lingered[0].order.order_id, service).fetch_history_events()
        )
        assert EventType.EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT not in [event.event_type async for event in events], service
    assert _ends(logs) == [(State.CONFIRMED, None)]


@pytest.mark.chaos
@pytest.mark.parametrize(("end", "every"), [("no-shipment", 7), ("no-shipment", 1), ("notified-before", 1)])
async def test_a_participant_that_is_terminated_at_any_event_starts_again_and_performs_its_role(
    harness: Harness, end: str, every: int
) -> None:
    delivered: list[tuple[Fact, str]] = []

    async def note(event: Event, service: str) -> None:
        delivered.append((event.fact, service))

    await harness.run(_orders(end), lambda: in_order, note)
    moments = list(dict.fromkeys(delivered))[::every]
    assert len(moments) >= 12 / every
    orders = _orders(end, len(moments))
    moment_of = {order.order_id: moment for order, moment in zip(orders, moments, strict=True)}
    terminated: list[tuple[Fact, str]] = []

    async def terminate(event: Event, service: str) -> None:
        if moment_of.get(event.order.order_id) == (event.fact, service):
            del moment_of[event.order.order_id]
            if await harness.terminate(event.order, service):
                terminated.append((event.fact, service))

    logs = await harness.run(orders, lambda: in_order, terminate)
    assert len(terminated) >= len(moments) / 3  # the others had completed
    waiting = {service for fact, service in moments if fact not in (Fact.ORDER_CONFIRMED, Fact.ORDER_CANCELLED)}
    assert every > 1 or {service for _, service in terminated} >= waiting
    assert {state for state, _ in _ends(logs)} == {ENDS[end][1]}
    assert await harness.violations() == []


@pytest.mark.parametrize("end", ["confirmed", "no-shipment"])
async def test_a_decision_is_known_from_what_followed_it(harness: Harness, end: str) -> None:
    """The order's participant is terminated when the others have completed and publish nothing again: an event that was
    published before shows the decision, long before the deadline would pass."""
    terminated: list[Event] = []

    async def terminate(event: Event, service: str) -> None:
        role = roles_in(event.order.notification)["order"]
        if service == "order" and event.fact in role.finish.until | role.undo.until and not terminated:
            assert await harness.terminate(event.order, "order")
            terminated.append(event)

    logs = await harness.run(_orders(end), lambda: in_order, terminate)
    assert terminated
    assert _ends(logs) == [ENDS[end][1:]]
    assert await harness.violations() == []


async def test_the_final_events_of_a_completed_participant_reach_all_that_wait_for_them(harness: Harness) -> None:
    """Shipping alone gets the decision, acts and completes; then the order's participant is terminated. Only the
    participants that start it again get shipping's final events."""
    terminated: list[Event] = []

    def to_shipping_alone(waiting: Deliveries) -> Deliveries:
        deliveries = in_order(waiting)
        if terminated or deliveries == [] or deliveries[0][0].fact is not Fact.ORDER_CONFIRMED:
            return deliveries
        return [(event, service) for event, service in deliveries if service == "shipping"]

    async def terminate(event: Event, service: str) -> None:
        if (event.fact, service) == (Fact.SHIPMENT_DISPATCHED, "order") and not terminated:
            assert await harness.terminate(event.order, "order")
            terminated.append(event)

    logs = await harness.run(_orders("confirmed"), lambda: to_shipping_alone, terminate)
    assert terminated
    assert _ends(logs) == [(State.CONFIRMED, None)]
    assert await harness.violations() == []


async def test_a_participant_that_a_late_event_starts_again_completes(harness: Harness) -> None:
    """It has nothing to publish that a completed participant would answer: it reminds the order's participant of the
    order, and gets the answer to that."""
    [order] = _orders("no-account")
    undone = Event(transaction_id=order.transaction_id, fact=Fact.SHIPMENT_CANCELLED, order=order)

    def as_if_shipping_had_undone(waiting: Deliveries) -> Deliveries:
        deliveries = in_order(waiting)
        if any((event.fact, to) == (Fact.ORDER_CANCELLED, "shipping") for event, to in deliveries):
            return [(undone, "order")]
        return [(event, to) for event, to in deliveries if to != "shipping"]

    await harness.run([order], lambda: as_if_shipping_had_undone)
    late = undone.model_copy(update={"fact": Fact.STOCK_RESERVED})
    assert await EventBus(harness.client).tell(late, "shipping") == ()
    logs = await harness.run([order], lambda: in_order)
    assert _ends(logs) == [ENDS["no-account"][1:]]
    assert await harness.violations() == []


async def test_an_order_ends_although_another_is_placed_under_its_id(harness: Harness) -> None:
    """The other order is placed while the order's own participant is terminated. Our client refuses it. Placed by a
    client that does not check, its participant fails, and the participants of the first order start theirs again."""
    [order] = _orders("confirmed")
    other = an_order(order.order_id, deadline_s=1800)
    decider = ChoreographyEngine(harness.client).handle_of(order.order_id, "order")
    refused: list[BaseException | None] = []

    async def intrude(event: Event, service: str) -> None:
        if event.fact is Fact.PAYMENT_AUTHORIZED and not refused:
            assert await harness.terminate(order, "order")
            with pytest.raises(DuplicateOrder, match="another content"):
                await ChoreographyEngine(harness.client).start(other)
            await harness.place(other)
            with pytest.raises(WorkflowFailureError) as failed:
                await decider.result()
            refused.append(failed.value.cause)
            assert (await harness.log(order)).state is State.RUNNING

    logs = await harness.run([order], lambda: in_order, intrude)
    assert [getattr(cause, "type", None) for cause in refused] == ["IDEMPOTENCY_CONFLICT"]
    assert _ends(logs) == [(State.CONFIRMED, None)]
    assert await harness.violations() == []


async def test_events_of_another_order_under_the_same_id_are_ignored(harness: Harness) -> None:
    """Any client can send one: it must not cancel the order, nor undo what a service has done for it."""
    [order] = _orders("confirmed")
    other = an_order(order.order_id, deadline_s=1800)
    sent: list[str] = []

    async def mislead(event: Event, _: str) -> None:
        if event.fact is Fact.PAYMENT_AUTHORIZED and not sent:
            for fact, service in ((Fact.CANCELLATION_REQUESTED, "order"), (Fact.ORDER_CANCELLED, "payment")):
                strange = Event(transaction_id=order.transaction_id, fact=fact, order=other)
                await EventBus(harness.client).tell(strange, service)
                sent.append(service)

    logs = await harness.run([order], lambda: in_order, mislead)
    assert sent == ["order", "payment"]
    assert _ends(logs) == [(State.CONFIRMED, None)]
    assert await harness.violations() == []


async def test_a_cancellation_that_comes_after_a_forgotten_confirmation_does_not_undo_it(harness: Harness) -> None:
    [order] = _orders("confirmed")
    late = Event(transaction_id=order.transaction_id, fact=Fact.CANCELLATION_REQUESTED, order=order)
    terminated: list[Event] = []

    async def terminate(event: Event, _: str) -> None:
        if event.fact is Fact.ORDER_CONFIRMED and not terminated:
            assert await harness.terminate(order, "order")
            await EventBus(harness.client).tell(late, "order")
            terminated.append(event)

    logs = await harness.run([order], lambda: in_order, terminate)
    assert terminated
    assert _ends(logs) == [(State.CONFIRMED, None)]
    refused = [(entry.step, entry.error_code) for entry in logs[0].steps if entry.status is Status.REFUSED]
    assert refused == [("order.cancel", "CANCEL_REFUSED")]
    assert await harness.violations() == []


async def test_an_order_that_misses_an_event_is_cancelled_at_its_deadline(harness: Harness) -> None:
    order = _orders("confirmed")[0].model_copy(update={"deadline_s": 2.0})

    def but_for_the_authorization(waiting: Deliveries) -> Deliveries:
        return [(event, to) for event, to in in_order(waiting) if event.fact is not Fact.PAYMENT_AUTHORIZED]

    logs = await harness.run([order], lambda: but_for_the_authorization)
    assert _ends(logs) == [(State.ROLLED_BACK, "DEADLINE_EXCEEDED")]
    assert await harness.violations() == []


async def test_a_customer_who_could_not_be_notified_of_the_confirmation_is_notified_of_the_cancellation(
    harness: Harness,
) -> None:
    bounces = {"email": "ada@nowhere.invalid", "phone": "+442071234567"}
    order = an_order(f"o-bounces-{uuid4().hex[:8]}", notification="required", contact=bounces)
    logs = await harness.run([order], lambda: in_order)
    assert _ends(logs) == [(State.ROLLED_BACK, "NOTIFICATION_FAILED")]
    notifications = {entry.step: entry.status for entry in logs[0].steps if entry.service == "notification"}
    assert notifications["notification.send_cancellation"] is Status.DONE
    assert await harness.violations() == []


@pytest.mark.parametrize(
    ("end", "operation", "state"),
    [
        ("confirmed", payment.capture, State.CONFIRMED_WITH_SKIPS),
        ("no-shipment", payment.cancel, State.ROLLED_BACK_WITH_SKIPS),
    ],
    ids=["confirmed", "rolled back"],
)
async def test_a_skip_at_one_participant_shows_in_the_end_of_the_order(
    harness: Harness, end: str, operation: Operation[Any, Any], state: State
) -> None:
    [order] = _orders(end)
    harness.broker.broken.add((order.transaction_id, operation.name))
    participant = ChoreographyEngine(harness.client).handle_of(order.order_id, operation.service)

    async def parked() -> list[Parked]:
        with suppress(RPCError):  # the participant is not started yet
            calls: list[Parked] = await participant.query("parked", result_type=list[Parked])
            return calls
        return []

    async def skip() -> None:
        await eventually_async(parked, f"{operation.name} is parked")
        await participant.execute_update("desk_skip", args=[operation.name, Skip("ann", "done by hand")])

    logs, _ = await asyncio.gather(harness.run([order], lambda: in_order), skip())
    assert [log.state for log in logs] == [state]
    harness.broker.broken.clear()
    await harness.execute(operation, Requests.of(order).payment)  # what the operator has done by hand
    assert await harness.violations() == []


async def test_a_service_with_two_steps_makes_both_before_the_decision(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = workflows_order.prepare

    async def prepare(saga: Saga | Plan, requests: Requests) -> None:
        await before(saga, requests)
        await saga.step(inventory.commit, requests.stock)

    monkeypatch.setattr(workflows_order, "prepare", prepare)
    monkeypatch.setitem(EVENTS, inventory.commit, CallEvents(Fact.CUSTOMER_NOTIFIED, Fact.NOTIFICATION_FAILED))
    logs = await harness.run(_orders("confirmed"), lambda: in_order)
    assert _ends(logs) == [(State.CONFIRMED, None)]
    forward = [entry.step for entry in logs[0].steps if entry.kind in (CallKind.STEP, CallKind.PIVOT)]
    assert forward[-2:] == ["inventory.commit", "order.confirm"]
    planned = calls_in(NotificationMode.BEST_EFFORT, CallKind.STEP, CallKind.PIVOT)
    assert sorted(forward) == sorted(operation.name for operation in planned)


@pytest.mark.chaos
@pytest.mark.parametrize("count", [1, 6])
async def test_every_order_ends_although_events_are_lost_and_participants_are_terminated_at_random(
    harness: Harness, count: int
) -> None:
    dice = random.Random(3)  # noqa: S311 — repeatable on purpose
    orders = [order for end in ENDS for order in _orders(end, count)]
    terminations: Counter[str] = Counter()

    async def terminate(event: Event, _: str) -> None:
        if terminations[event.order.order_id] < 4 and dice.random() < 0.2:
            service = dice.choice(PARTICIPANTS)
            terminations[event.order.order_id] += await harness.terminate(event.order, service)

    logs = await harness.run(orders, lambda: at_random(dice), terminate)
    assert terminations.total() >= len(orders)
    assert [state for state, _ in _ends(logs)] == [ENDS[end][1] for end, _ in product(ENDS, range(count))]
    assert await harness.violations() == []
