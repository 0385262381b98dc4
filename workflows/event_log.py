"""The events of one order as one participant knows them: which have happened, which it has published, and to whom.

A waiting participant publishes its events again (`republish`), which replaces lost events and starts participants that
were closed from outside: docs/choreography.md, the watchdog.
"""

import asyncio
from collections.abc import Callable

from temporalio import workflow

from contracts.choreography import PUBLISHER, PUBLISHING, Event, Fact, Publish, Published
from contracts.message import same
from contracts.order import Order, RollbackCause
from temporal_saga import POLICIES, CallKind
from temporal_saga.calls import PersistentCalls, attempt
from temporal_saga.outcome import Done, Outcome
from temporal_saga.waiting import until
from workflows.choreography import Reaction, Roles


class EventLog:
    """What one service's participant has received and published about one order.

    It only grows, and both are finite: an event that is known already changes nothing.
    """

    def __init__(self, service: str, placed: Order, roles: Roles, calls: PersistentCalls) -> None:
        self.published: list[Event] = []
        self.happened: dict[Fact, Event] = {}
        self._service = service
        self._order = placed
        self._roles = roles
        self._calls = calls
        self._final_events: dict[Fact, Event] = {}
        self._deliveries: list[asyncio.Task[None]] = []
        self._is_waiting = False

    # --- what the participant learns ----------------------------------------------------------------------------------

    def on_event(self, event: Event) -> None:
        """Note an event the first time it arrives. Every event implies that the order was placed."""
        fields = {"transaction_id": self._order.transaction_id, "service": self._service, "event_id": event.event_id}
        if not same(event.order, self._order):
            workflow.logger.warning("event of another order under this id", extra=fields)
            return
        if event.fact not in self.happened:
            workflow.logger.info("event", extra=fields | {"caused_by": event.caused_by})
        self.happened.setdefault(Fact.ORDER_PLACED, self.event(Fact.ORDER_PLACED))
        self.happened.setdefault(event.fact, event)

    def is_due(self, reaction: Reaction | None) -> bool:
        return reaction is not None and reaction.is_due(self.happened)

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait for other participants until `holds()`; meanwhile events are published again."""
        self._is_waiting = True
        await until(holds)
        self._is_waiting = False

    # --- what the participant tells -----------------------------------------------------------------------------------

    def event(self, fact: Fact, cause: RollbackCause | None = None) -> Event:
        return Event(transaction_id=self._order.transaction_id, fact=fact, order=self._order, cause=cause)

    def publish(
        self, fact: Fact, reaction: Reaction, *, cause: RollbackCause | None = None, skipped: bool = False
    ) -> None:
        """Deliver the result of `reaction` to its subscribers, beside the participant's next call.

        The participant completes only after the delivery (`delivered`).
        """
        triggers = [event.event_id for event in self.happened.values() if event.fact in reaction.after | reaction.on]
        caused_by = triggers[-1] if triggers else ""
        event = self.event(fact, cause).model_copy(update={"caused_by": caused_by, "skipped": skipped})
        self.published.append(event)
        if self._service in self._subscribers(event):
            self.on_event(event)
        if others := self._running_subscribers(event):
            self._deliveries.append(asyncio.create_task(self._deliver(event, others)))

    async def delivered(self) -> None:
        """Return when every published event has reached its subscribers."""
        await asyncio.gather(*self._deliveries)

    def _subscribers(self, event: Event) -> list[str]:
        return [service for service, role in self._roles.items() if event.fact in role.subscribes_to]

    def _running_subscribers(self, event: Event) -> tuple[str, ...]:
        """The other subscribers, without those whose last event has arrived here: they have nothing left to do."""
        role = self._roles[self._service]
        ended = {PUBLISHER[fact] for fact in role.finish.until | role.undo.until if fact in self.happened}
        return tuple(name for name in self._subscribers(event) if name != self._service and name not in ended)

    async def _deliver(self, event: Event, to: tuple[str, ...]) -> None:
        operation = PUBLISHING[event.fact]
        entry = self._calls.journal.begin(operation.name, CallKind.FINISH)
        request = Publish(transaction_id=event.transaction_id, event=event, to=to)
        self._merge_events(await self._calls.until_done(entry, operation, request, POLICIES.finish))

    def _merge_events(self, ended: Outcome[Published] | None) -> None:
        """Note the events of subscribers that had completed, and keep them to publish them for these participants."""
        for event in ended.reply.final_events if isinstance(ended, Done) else ():
            self.on_event(event)
            self._final_events[event.fact] = event

    async def republish(self) -> None:
        """Publish all events again after growing pauses, while the participant waits and no new event arrives.

        That serves subscribers that missed the events, were terminated, or completed.
        """
        rounds = known = 0
        while True:
            rounds, known = (rounds + 1 if len(self.happened) == known else 1), len(self.happened)
            await workflow.sleep(self._calls.rounds.pause(rounds), summary="then events are published again")
            if not self._is_waiting or len(self.happened) > known:
                continue
            for event in (*self.published, *self._final_events.values()) or (self.event(Fact.ORDER_PLACED),):
                if to := self._running_subscribers(event):
                    request = Publish(transaction_id=event.transaction_id, event=event, to=to)
                    ended = await attempt(PUBLISHING[event.fact], request, POLICIES.best_effort, "published again")
                    if self._calls.journal.state.is_end:  # the call was cancelled with this task: a new pause
                        return  # would be a command after the workflow's completion, which the server refuses
                    self._merge_events(ended)
