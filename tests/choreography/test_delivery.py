"""Events that come twice, late, in the wrong order or never; participants that vanish. The end is the same everywhere.

Nothing of the product is replaced but the broker: real participants, real services, real databases.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
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
from contracts import payment
from contracts.choreography import CHOREOGRAPHY, PARTICIPANTS, Event, Fact
from contracts.order import Order
from runtime.events import EventBus
from saga import Operation, Parked, Skip, State, Status, TransactionLog
from workflows.order import Requests

from .stage import Deliveries, Direct, Stage, an_order

pytestmark = [
    pytest.mark.xdist_group("choreography"),
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(300),  # waits for participants to grow impatient, on a busy machine for long
]

_POLE = {"name": "R. Amundsen", "street": "1 Pole", "city": "South Pole", "postcode": "0", "country": "AQ"}
ENDS: dict[str, tuple[dict[str, Any], State, str | None]] = {
    "confirmed": ({}, State.CONFIRMED, None),
    "told-before": ({"notification": "required"}, State.CONFIRMED, None),
    "no-account": ({"customer_id": "c-none"}, State.ROLLED_BACK, "PAYMENT_DECLINED"),
    "no-courier": ({"ship_to": _POLE, "notification": "required"}, State.ROLLED_BACK, "SHIPPING_UNAVAILABLE"),
}


def in_order(waiting: Deliveries) -> Deliveries:
    return [waiting.pop(0)] if waiting else []


def in_reverse(waiting: Deliveries) -> Deliveries:
    return [waiting.pop()] if waiting else []


def three_times(waiting: Deliveries) -> Deliveries:
    return in_order(waiting) * 3


def not_at_first() -> Direct:
    """Each event is lost to each subscriber the first time it is published."""
    lost: set[tuple[str, str]] = set()

    def direct(waiting: Deliveries) -> Deliveries:
        deliveries = []
        for event, service in in_order(waiting):
            if (event.event_id, service) in lost:
                deliveries.append((event, service))
            lost.add((event.event_id, service))
        return deliveries

    return direct


def at_random(dice: random.Random) -> Direct:
    """Any event next: lost, or delivered once, or several times."""

    def direct(waiting: Deliveries) -> Deliveries:
        if not waiting:
            return []
        return [waiting.pop(dice.randrange(len(waiting)))] * dice.choice((0, 1, 1, 1, 2, 3))

    return direct


DELIVERIES: dict[str, Callable[[], Direct]] = {
    "in order": lambda: in_order,
    "in reverse": lambda: in_reverse,
    "three times each": lambda: three_times,
    "lost at first": not_at_first,
    "at random": lambda: at_random(random.Random(7)),  # noqa: S311 — repeatable on purpose
}
OTHERS = [way for way in DELIVERIES if way != "at random"]
"""Each does one thing thoroughly that the random one does now and then."""


def _orders(end: str, count: int = 1) -> list[Order]:
    run = uuid4().hex[:8]
    return [an_order(f"o-{end}-{run}-{number}", **ENDS[end][0]) for number in range(count)]


def _ends(logs: list[TransactionLog]) -> list[tuple[State, str | None]]:
    return [(log.state, log.error.code if log.error else None) for log in logs]


@pytest.mark.parametrize("delivery", ["at random", *(pytest.param(way, marks=pytest.mark.chaos) for way in OTHERS)])
async def test_however_events_arrive_every_order_ends_as_it_must(on_stage: Stage, delivery: str) -> None:
    orders = [order for end in ENDS for order in _orders(end)]
    logs = await on_stage.play(orders, DELIVERIES[delivery])
    assert _ends(logs) == [(state, code) for _, state, code in ENDS.values()]
    for log in logs:  # each event was reacted to once; the log numbers what is called again: `payment.capture#2`
        assert [entry.step for entry in log.steps if "#" in entry.step] == []
    assert await on_stage.violations() == []


async def test_an_order_that_ends_while_its_participants_say_everything_again_has_ended(on_stage: Stage) -> None:
    """What a participant is still saying then is given up, and it says no more: Temporal refuses a workflow task with
    a command after the last."""
    on_stage.broker.again_s = 3
    lingered: list[Event] = []

    async def linger(event: Event, _: str) -> None:
        if event.fact is Fact.STOCK_RESERVED and not lingered:
            lingered.append(event)
            await asyncio.sleep(1.5)  # three times what they wait before they say everything again

    try:
        logs = await on_stage.play(_orders("confirmed"), lambda: in_order, linger)
    finally:
        on_stage.broker.again_s = 0
    assert lingered
    for service in PARTICIPANTS:
        events = (
            ChoreographyEngine(on_stage.client).handle_of(lingered[0].order.order_id, service).fetch_history_events()
        )
        assert EventType.EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT not in [event.event_type async for event in events], service
    assert _ends(logs) == [(State.CONFIRMED, None)]


@pytest.mark.chaos
@pytest.mark.parametrize(("end", "every"), [("no-courier", 7), ("no-courier", 1), ("told-before", 1)])
async def test_a_participant_that_vanishes_at_any_event_comes_back_and_does_its_part(
    on_stage: Stage, end: str, every: int
) -> None:
    heard: Counter[str] = Counter()

    async def count(event: Event, _: str) -> None:
        heard[event.order.order_id] += 1

    [rehearsal] = _orders(end)
    await on_stage.play([rehearsal], lambda: in_order, count)
    assert heard.total() >= 12
    moments = range(1, heard.total() + 1, every)
    orders = dict(zip(moments, _orders(end, len(moments)), strict=True))
    moment_of = {order.order_id: moment for moment, order in orders.items()}
    vanished: list[str] = []

    async def vanish(event: Event, service: str) -> None:
        order_id = event.order.order_id
        heard[order_id] += 1
        if heard[order_id] == moment_of[order_id] and await on_stage.terminate(event.order, service):
            vanished.append(service)

    logs = await on_stage.play(list(orders.values()), lambda: in_order, vanish)
    assert len(vanished) >= len(moments) / 3  # the others had ended
    assert every > 1 or set(vanished) == set(PARTICIPANTS)
    assert {state for state, _ in _ends(logs)} == {ENDS[end][1]}
    assert await on_stage.violations() == []


@pytest.mark.parametrize("end", ENDS)
async def test_a_decision_is_known_from_what_followed_it(on_stage: Stage, end: str) -> None:
    """The order's participant vanishes when the others have ended, who say nothing again: what is still on its way
    tells what was decided, long before the deadline would."""
    vanished: list[Event] = []

    async def vanish(event: Event, service: str) -> None:
        after = CHOREOGRAPHY[event.order.notification]["order"]
        if service == "order" and event.fact in after.finish.until | after.undo.until and not vanished:
            assert await on_stage.terminate(event.order, "order")
            vanished.append(event)

    logs = await on_stage.play(_orders(end), lambda: in_order, vanish)
    assert vanished
    assert _ends(logs) == [ENDS[end][1:]]
    assert await on_stage.violations() == []


async def test_the_last_words_of_one_who_ended_reach_all_who_wait_for_them(on_stage: Stage) -> None:
    """Shipping alone hears of the decision, acts and ends; then the order's participant vanishes. Those who bring it
    back are the only ones whom shipping answers."""
    vanished: list[Event] = []

    def to_shipping_alone(waiting: Deliveries) -> Deliveries:
        deliveries = in_order(waiting)
        if vanished or deliveries == [] or deliveries[0][0].fact is not Fact.ORDER_CONFIRMED:
            return deliveries
        return [(event, service) for event, service in deliveries if service == "shipping"]

    async def vanish(event: Event, service: str) -> None:
        if (event.fact, service) == (Fact.SHIPMENT_DISPATCHED, "order") and not vanished:
            assert await on_stage.terminate(event.order, "order")
            vanished.append(event)

    logs = await on_stage.play(_orders("confirmed"), lambda: to_shipping_alone, vanish)
    assert vanished
    assert _ends(logs) == [(State.CONFIRMED, None)]
    assert await on_stage.violations() == []


async def test_a_participant_that_a_late_event_brings_back_ends_too(on_stage: Stage) -> None:
    """It has nothing to say, so nobody would answer it: it asks by reminding the order's participant of the order."""
    [order] = _orders("no-account")
    said = Event(transaction_id=order.transaction_id, fact=Fact.SHIPMENT_CANCELLED, order=order)

    def as_if_shipping_had_heard(waiting: Deliveries) -> Deliveries:
        deliveries = in_order(waiting)
        if any((event.fact, to) == (Fact.ORDER_CANCELLED, "shipping") for event, to in deliveries):
            return [(said, "order")]
        return [(event, to) for event, to in deliveries if to != "shipping"]

    await on_stage.play([order], lambda: as_if_shipping_had_heard)
    late = said.model_copy(update={"fact": Fact.STOCK_RESERVED})
    assert await EventBus(on_stage.client).tell(late, "shipping") == ()
    logs = await on_stage.play([order], lambda: in_order)
    assert _ends(logs) == [ENDS["no-account"][1:]]
    assert await on_stage.violations() == []


async def test_an_order_is_not_stranded_by_another_that_is_placed_under_its_id(on_stage: Stage) -> None:
    """While its own participant is gone: our client refuses it, and one that does not look ends in a failure, after
    which those who play the first one bring its participant back."""
    [order] = _orders("confirmed")
    other = an_order(order.order_id, deadline_s=1800)
    decider = ChoreographyEngine(on_stage.client).handle_of(order.order_id, "order")
    refused: list[BaseException | None] = []

    async def intrude(event: Event, service: str) -> None:
        if event.fact is Fact.PAYMENT_AUTHORIZED and not refused:
            assert await on_stage.terminate(order, "order")
            with pytest.raises(DuplicateOrder, match="another content"):
                await ChoreographyEngine(on_stage.client).start(other)
            await on_stage.place(other)
            with pytest.raises(WorkflowFailureError) as failed:
                await decider.result()
            refused.append(failed.value.cause)
            assert (await on_stage.log(order)).state is State.RUNNING

    logs = await on_stage.play([order], lambda: in_order, intrude)
    assert [getattr(cause, "type", None) for cause in refused] == ["IDEMPOTENCY_CONFLICT"]
    assert _ends(logs) == [(State.CONFIRMED, None)]
    assert await on_stage.violations() == []


async def test_events_of_another_order_under_the_same_id_are_not_heard(on_stage: Stage) -> None:
    """Anybody can send one: it must not cancel the order, nor undo what a service has done for it."""
    [order] = _orders("confirmed")
    other = an_order(order.order_id, deadline_s=1800)
    sent: list[str] = []

    async def mislead(event: Event, _: str) -> None:
        if event.fact is Fact.PAYMENT_AUTHORIZED and not sent:
            for fact, service in ((Fact.CANCELLATION_REQUESTED, "order"), (Fact.ORDER_CANCELLED, "payment")):
                strange = Event(transaction_id=order.transaction_id, fact=fact, order=other)
                await EventBus(on_stage.client).tell(strange, service)
                sent.append(service)

    logs = await on_stage.play([order], lambda: in_order, mislead)
    assert sent == ["order", "payment"]
    assert _ends(logs) == [(State.CONFIRMED, None)]
    assert await on_stage.violations() == []


async def test_a_cancellation_that_comes_after_a_forgotten_confirmation_does_not_undo_it(on_stage: Stage) -> None:
    [order] = _orders("confirmed")
    late = Event(transaction_id=order.transaction_id, fact=Fact.CANCELLATION_REQUESTED, order=order)
    vanished: list[Event] = []

    async def vanish(event: Event, _: str) -> None:
        if event.fact is Fact.ORDER_CONFIRMED and not vanished:
            assert await on_stage.terminate(order, "order")
            await EventBus(on_stage.client).tell(late, "order")
            vanished.append(event)

    logs = await on_stage.play([order], lambda: in_order, vanish)
    assert vanished
    assert _ends(logs) == [(State.CONFIRMED, None)]
    refused = [(entry.step, entry.error_code) for entry in logs[0].steps if entry.status is Status.REFUSED]
    assert refused == [("order.cancel", "CANCEL_REFUSED")]
    assert await on_stage.violations() == []


async def test_an_order_that_somebody_never_answers_is_cancelled_at_its_deadline(on_stage: Stage) -> None:
    order = _orders("confirmed")[0].model_copy(update={"deadline_s": 2.0})

    def but_for_the_authorization(waiting: Deliveries) -> Deliveries:
        return [(event, to) for event, to in in_order(waiting) if event.fact is not Fact.PAYMENT_AUTHORIZED]

    logs = await on_stage.play([order], lambda: but_for_the_authorization)
    assert _ends(logs) == [(State.ROLLED_BACK, "DEADLINE_EXCEEDED")]
    assert await on_stage.violations() == []


async def test_who_could_not_be_told_of_the_confirmation_is_told_of_the_cancellation(on_stage: Stage) -> None:
    bounces = {"email": "ada@nowhere.invalid", "phone": "+442071234567"}
    order = an_order(f"o-bounces-{uuid4().hex[:8]}", notification="required", contact=bounces)
    logs = await on_stage.play([order], lambda: in_order)
    assert _ends(logs) == [(State.ROLLED_BACK, "NOTIFICATION_FAILED")]
    letters = {entry.step: entry.status for entry in logs[0].steps if entry.service == "notification"}
    assert letters["notification.send_cancellation"] is Status.DONE
    assert await on_stage.violations() == []


@pytest.mark.parametrize(
    ("end", "operation", "state"),
    [
        ("confirmed", payment.capture, State.CONFIRMED_WITH_SKIPS),
        ("no-courier", payment.cancel, State.ROLLED_BACK_WITH_SKIPS),
    ],
    ids=["confirmed", "rolled back"],
)
async def test_a_skip_at_one_participant_is_said_in_the_end_of_the_order(
    on_stage: Stage, end: str, operation: Operation[Any, Any], state: State
) -> None:
    [order] = _orders(end)
    on_stage.broker.broken.add((order.transaction_id, operation.name))
    participant = ChoreographyEngine(on_stage.client).handle_of(order.order_id, operation.service)

    async def skip() -> None:
        parked: list[Parked] = []
        while not parked:
            await asyncio.sleep(0.1)
            with suppress(RPCError):  # until it has heard of the order
                parked = await participant.query("parked", result_type=list[Parked])
        await participant.execute_update("desk_skip", args=[operation.name, Skip("ann", "done by hand")])

    logs, _ = await asyncio.gather(on_stage.play([order], lambda: in_order), skip())
    assert [log.state for log in logs] == [state]
    on_stage.broker.broken.clear()
    await on_stage.execute(operation, Requests.of(order).payment)  # by hand, as it was said
    assert await on_stage.violations() == []


@pytest.mark.chaos
@pytest.mark.parametrize("count", [1, 6])
async def test_a_storm_of_lost_events_and_vanishing_participants_passes(on_stage: Stage, count: int) -> None:
    dice = random.Random(3)  # noqa: S311 — repeatable on purpose
    orders = [order for end in ENDS for order in _orders(end, count)]
    blows: Counter[str] = Counter()

    async def strike(event: Event, _: str) -> None:
        if blows[event.order.order_id] < 4 and dice.random() < 0.2:
            victim = dice.choice(PARTICIPANTS)
            blows[event.order.order_id] += await on_stage.terminate(event.order, victim)

    logs = await on_stage.play(orders, lambda: at_random(dice), strike)
    assert blows.total() >= len(orders)
    assert [state for state, _ in _ends(logs)] == [ENDS[end][1] for end, _ in product(ENDS, range(count))]
    assert await on_stage.violations() == []
