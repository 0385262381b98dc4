"""A service's part in the choreography of one order. `play` is the part; contracts/choreography.py says what is in it.

Why it always ends, and the same way everywhere:

- *One decision.* Only the order's participant calls `order.confirm` or `order.cancel`. The service lets one of them
  through, in one local transaction, and answers the same for ever; so OrderConfirmed and OrderCancelled are never both
  said, whoever comes back from the dead. The others undo or finish when they hear one, and at no other time.
- *No deadlock.* Before the decision the order's participant waits for the others, but never beyond its deadline.
  After it they wait for nobody: each calls its service, says so and ends. Only the order's participant waits for them.
- *No livelock.* A participant goes forward, then back or on, then ends: three calls at most, none ever taken back. What
  it has heard and said only grows, and both are finite: an event that it knows changes nothing.
- *Nothing is lost for good.* Whoever waits says what it has said again, after growing pauses (`_watch`). That brings
  lost events, and starts participants that were closed from outside: they make their calls again, which the fence
  answers as before, and say again what came of them. Whoever has ended answers with all it had said, and whoever got
  that answer says it for them, to others who may wait for it. Whoever has nothing to say reminds the order's
  participant of the order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.exceptions import ApplicationError

from contracts.choreography import (
    CHOREOGRAPHY,
    PUBLISHER,
    PUBLISHING,
    Event,
    Fact,
    Part,
    Publish,
    Published,
    Reaction,
    subscribers,
)
from contracts.errors import Code
from contracts.ids import participant_id
from contracts.message import same
from contracts.order import Order, RollbackCause
from saga import POLICIES, CallKind, CancelRefused, Desk, Failure, Operation, State, Status, TransactionLog
from saga.calls import PersistentCalls, attempt
from saga.journal import Entry, Journal
from saga.outcome import Done, Refused, Unknown
from saga.waiting import until
from workflows.order import Requests


def part_of(service: str, placed: Order) -> Part:
    """The part of `service`. A table that has changed is chosen here, under a guard: docs/architecture.md."""
    return CHOREOGRAPHY[placed.notification][service]


class Participant:
    """What one service has heard, done and said about one order."""

    def __init__(self, service: str, placed: Order) -> None:
        self.desk = Desk()
        self.said: list[Event] = []
        self._service = service
        self._order = placed
        self._part = part_of(service, placed)
        requests = Requests.of(placed, coordinator=participant_id(placed.order_id, "order"))
        self._requests = {type(request): request for request in vars(requests).values()}
        self._journal = Journal(placed.transaction_id)
        self._calls = PersistentCalls(self._journal, self.desk, POLICIES.rounds)
        self._heard: dict[Fact, Event] = {}
        self._last_words: dict[Fact, Event] = {}
        self._publishing: list[asyncio.Task[None]] = []
        self._refused: Refused | None = None
        self._finishing = False
        self._waiting = False

    @property
    def log(self) -> TransactionLog:
        return self._journal.log

    # --- what it hears ------------------------------------------------------------------------------------------------

    def hear(self, event: Event) -> None:
        """Take an event in, the first time it comes. Each says that the order was placed, whatever else it says."""
        fields = {"transaction_id": self._order.transaction_id, "service": self._service, "event_id": event.event_id}
        if not same(event.order, self._order):
            workflow.logger.warning("event of another order under this id", extra=fields)
            return
        if event.fact not in self._heard:
            workflow.logger.info("event", extra=fields | {"caused_by": event.caused_by})
        self._heard.setdefault(Fact.ORDER_PLACED, self._event(Fact.ORDER_PLACED))
        self._heard.setdefault(event.fact, event)

    def cancel(self, reason: str) -> None:
        self.check_cancellable()
        cause = RollbackCause(code=Code.CANCELLED, message=reason)
        self.hear(self._event(Fact.CANCELLATION_REQUESTED, cause=cause))

    def check_cancellable(self) -> None:
        if not self._part.decides:
            raise CancelRefused(f"{self._service} does not decide about the order: ask its participant `order`")
        if self._finishing:
            raise CancelRefused("the confirmation has been asked for: the order can only go forward")

    def _is_due(self, reaction: Reaction | None) -> bool:
        return reaction is not None and reaction.is_due(self._heard)

    @property
    def _decided(self) -> bool:
        return self._is_due(self._part.finish) or self._is_due(self._part.undo)

    async def _until(self, it_is_time: Callable[[], bool]) -> None:
        self._waiting = True
        await until(it_is_time)
        self._waiting = False

    # --- what it does -------------------------------------------------------------------------------------------------

    async def play(self) -> None:
        """Raises `ApplicationError`, and tells nobody, where the order is another coordinator's."""
        part, clocks = self._part, [asyncio.create_task(self._watch())]
        if part.decides:
            clocks.append(asyncio.create_task(self._let_the_deadline_pass()))
        await self._until(lambda: self._decided or self._is_due(part.forward))
        if part.forward is not None and not self._decided:
            await self._step(part.forward)
        if not self._is_anothers():
            await self._until(lambda: self._decided)
            await self._finish_or_undo()
        refused = self._refused if self._is_anothers() else None
        if refused is not None:
            self._journal.move(State.ROLLED_BACK, Failure(refused.code, refused.message, self.log.steps[-1].step))
        await asyncio.gather(*self._publishing)
        for clock in clocks:
            clock.cancel()
        if refused is not None:  # not completed: whoever plays the order that is on record may start it again
            raise ApplicationError(refused.message, type=refused.code, non_retryable=True)

    async def _step(self, forward: Reaction) -> None:
        """Given up when the order is cancelled meanwhile: its undo is safe at any time."""
        operation = _called(forward)
        entry = self._journal.begin(operation.name, CallKind.STEP)
        call = asyncio.create_task(attempt(operation, self._request(operation), POLICIES.forward))
        await until(lambda: call.done() or self._is_due(self._part.undo))
        if not call.done():
            call.cancel()
        ended: Done[Any] | Refused | Unknown
        try:
            ended = await call
        except asyncio.CancelledError:  # before the call was sent
            ended = Unknown(Code.CANCELLED, "the call was cancelled before it was made", 0)
        if isinstance(ended, Done):
            self._journal.settle(entry, Status.DONE, ended.attempts)
            self._say(forward.says, forward)
            return
        status = Status.UNKNOWN
        if isinstance(ended, Refused):
            self._refused, status = ended, Status.REFUSED
        self._journal.settle(entry, status, ended.attempts, ended.code)
        if forward.or_says is not None and not self._is_due(self._part.undo):
            cause = RollbackCause(code=ended.code, message=ended.message, step=entry.step)
            self._say(forward.or_says, forward, cause=cause)

    def _is_anothers(self) -> bool:
        """Whether the order on record has another coordinator or another content: the order service has then refused
        this one although nothing was cancelled. What is done for the order on record is not undone here."""
        known = (Code.STEP_UNDONE, Code.CANCEL_REFUSED)
        return self._part.decides and self._refused is not None and self._refused.code not in known

    async def _finish_or_undo(self) -> None:
        if not self._is_due(self._part.undo) and await self._finish():
            return
        if await self._undo() or self._is_anothers():
            return
        self._finishing = True  # it was confirmed before, by a participant that was closed since
        await self._conclude(self._part.finish, State.CONFIRMED)

    async def _finish(self) -> bool:
        """False if the order service says that the order is not to be confirmed."""
        finish, self._finishing = self._part.finish, True
        skipped = False
        if finish.does is not None:
            kind = CallKind.PIVOT if self._part.decides else CallKind.FINISH
            ended = await self._call(finish, kind, may_refuse=lambda _: self._part.decides)
            if isinstance(ended, Refused) and finish.or_says is not None:
                self._finishing = False
                cause = RollbackCause(code=ended.code, message=ended.message, step=finish.does.name)
                self._say(finish.or_says, finish, cause=cause)
                return False
            skipped = ended is None
        await self._conclude(finish, State.CONFIRMED, skipped=skipped)
        return True

    async def _undo(self) -> bool:
        """False if the order service does not let the order be cancelled. A refused step is undone too: the refusal may
        have been of another build's request, and a letter that could not be sent is followed by another."""
        undo = self._part.undo
        reason = next(event for fact, event in self._heard.items() if fact in undo.on)
        cause = reason.cause or RollbackCause(code=Code.ABANDONED, message=reason.fact)
        failure = Failure(cause.code, cause.message, cause.step)
        if not self._part.decides:
            self._journal.move(State.COMPENSATING, failure)
        kind = CallKind.PIVOT if self._part.decides else CallKind.UNDO
        final = (Code.CANCEL_REFUSED, Code.IDEMPOTENCY_CONFLICT) if self._part.decides else ()
        ended = await self._call(undo, kind, may_refuse=lambda code: code in final)
        if isinstance(ended, Refused) and self._part.decides:
            self._refused = ended
            return False
        self._journal.move(State.COMPENSATING, failure)
        await self._conclude(undo, State.ROLLED_BACK, cause=cause, skipped=ended is None)
        return True

    async def _conclude(
        self, last: Reaction, end: State, *, cause: RollbackCause | None = None, skipped: bool = False
    ) -> None:
        """Say what came of it, and stay until all that must follow has happened and everybody was told."""
        self._say(last.says, last, cause=cause, skipped=skipped)
        await self._until(lambda: last.until <= self._heard.keys())
        await asyncio.gather(*self._publishing)
        self._journal.end(end, with_skips=any(self._heard[fact].skipped for fact in last.until))

    async def _call(self, reaction: Reaction, kind: CallKind, may_refuse: Callable[[str], bool]) -> Any:
        operation = _called(reaction)
        request, entry = self._request(operation), self._journal.begin(operation.name, kind)
        ended: Done[Any] | Refused | Unknown | None
        if reaction.best_effort:
            ended = await attempt(operation, request, POLICIES.best_effort)
        else:
            policy = POLICIES.undo if kind is CallKind.UNDO else POLICIES.finish
            ended = await self._calls.until_done(entry, operation, request, policy, may_refuse=may_refuse)
        self._settle(entry, ended)
        return ended

    def _settle(self, entry: Entry, ended: Done[Any] | Refused | Unknown | None) -> None:
        """Where the call itself has not: it leaves a decision, and what may fail, to us."""
        if ended is None or entry.ended_at is not None:
            return
        if isinstance(ended, Done):
            self._journal.settle(entry, Status.DONE, ended.attempts)
        else:
            status = Status.REFUSED if isinstance(ended, Refused) else Status.UNKNOWN
            self._journal.settle(entry, status, ended.attempts, ended.code)

    def _request(self, operation: Operation[Any, Any]) -> Any:
        return self._requests[operation.request]

    # --- what it says -------------------------------------------------------------------------------------------------

    def _event(self, fact: Fact, cause: RollbackCause | None = None, caused_by: str = "") -> Event:
        tx = self._order.transaction_id
        return Event(transaction_id=tx, fact=fact, order=self._order, cause=cause, caused_by=caused_by)

    def _say(
        self, fact: Fact, reaction: Reaction, *, cause: RollbackCause | None = None, skipped: bool = False
    ) -> None:
        """Tell the subscribers, beside whatever comes next; the participant does not end before they know."""
        trigger = [event.event_id for event in self._heard.values() if event.fact in reaction.after | reaction.on]
        event = self._event(fact, cause, trigger[-1] if trigger else "")
        event = event.model_copy(update={"skipped": skipped})
        self.said.append(event)
        if self._service in subscribers(event):
            self.hear(event)
        if others := self._others(event):
            self._publishing.append(asyncio.create_task(self._publish(event, others)))

    def _others(self, event: Event) -> tuple[str, ...]:
        ended = {PUBLISHER[fact] for fact in self._part.finish.until | self._part.undo.until if fact in self._heard}
        return tuple(s for s in subscribers(event) if s != self._service and s not in ended)

    async def _publish(self, event: Event, to: tuple[str, ...]) -> None:
        operation = PUBLISHING[event.fact]
        entry = self._journal.begin(operation.name, CallKind.FINISH)
        request = Publish(transaction_id=event.transaction_id, event=event, to=to)
        self._take_over(await self._calls.until_done(entry, operation, request, POLICIES.finish))

    def _take_over(self, ended: Done[Published] | Refused | Unknown | None) -> None:
        for event in ended.reply.last_words if isinstance(ended, Done) else ():
            self.hear(event)
            self._last_words[event.fact] = event

    # --- what time does -----------------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """While nothing new is heard, say everything again: to those who missed it, those who are no more, and for
        those who have ended."""
        rounds = known = 0
        while True:
            rounds, known = (rounds + 1 if len(self._heard) == known else 1), len(self._heard)
            await workflow.sleep(POLICIES.rounds.pause(rounds))
            if not self._waiting or len(self._heard) > known:
                continue
            for event in (*self.said, *self._last_words.values()) or (self._event(Fact.ORDER_PLACED),):
                if to := self._others(event):
                    request = Publish(transaction_id=event.transaction_id, event=event, to=to)
                    told = await attempt(PUBLISHING[event.fact], request, POLICIES.best_effort)
                    if self.log.state.is_end:  # and so this was cut short; a pause begun now would follow the end
                        return
                    self._take_over(told)

    async def _let_the_deadline_pass(self) -> None:
        seconds = self._order.deadline_s
        await workflow.sleep(timedelta(seconds=seconds))
        cause = RollbackCause(code=Code.DEADLINE_EXCEEDED, message=f"not confirmed within {seconds:g} s")
        self.hear(self._event(Fact.DEADLINE_PASSED, cause=cause))


def _called(reaction: Reaction) -> Operation[Any, Any]:
    assert reaction.does is not None  # noqa: S101 — asked only where there is a call
    return reaction.does
