"""A participant: one service's role in the choreography of one order. `Participant.run` performs the role.

Every participant ends, and all end in the same way: docs/choreography.md says why.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from pydantic import ValidationError
from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError

from contracts.choreography import PARTICIPANTS, Event, Fact, Participation
from contracts.errors import Code
from contracts.ids import participant_id
from contracts.order import Order, RollbackCause
from contracts.outline import Outline
from contracts.problems import first_problem
from contracts.remedy import remedy_for
from temporal_saga import (
    POLICIES,
    CallKind,
    CancelRefused,
    DeadlineRefused,
    Desk,
    Failure,
    MoveDeadline,
    PlannedCall,
    State,
    TransactionLog,
    deadline_exceeded,
    run_to_completion,
)
from temporal_saga.announcer import Announcer
from temporal_saga.calls import PersistentCalls, attempt, summary_of
from temporal_saga.journal import Journal
from temporal_saga.outcome import Outcome, Refused, Unknown
from temporal_saga.waiting import until
from workflows.announcing import announced
from workflows.cancellable import CancellableOrderWorkflow
from workflows.choreography import Reaction, roles_of
from workflows.event_log import EventLog
from workflows.inputs import parse_input
from workflows.order import Requests, check_order_of, planned


class Participant:
    """The execution of one service's role for one order."""

    def __init__(self, service: str, placed: Order) -> None:
        self.plan = planned(Requests.of(placed, coordinator=participant_id(placed.order_id)))
        roles = roles_of(self.plan)
        self.desk = Desk(remedy_for(placed.order_id))
        self._service = service
        self._order = placed
        self._role = roles[service]
        announce = announced()
        self._announcer = None if announce is None else Announcer(announce)
        self._journal = Journal(placed.transaction_id, listener=self._announcer, is_part=not self._role.is_decider)
        self._calls = PersistentCalls(self._journal, self.desk, POLICIES.rounds)
        self.events = EventLog(service, placed, roles, self._calls)
        self._rejection: Failure | None = None
        """Why the order service refuses this order: the order on record has another coordinator or another content."""
        self._confirming = False

    @property
    def log(self) -> TransactionLog:
        return self._journal.log

    @property
    def is_past_pivot(self) -> bool:
        return any(
            event.fact is Fact.ORDER_CONFIRMED for event in (*self.events.happened.values(), *self.events.published)
        )

    def cancel(self, reason: str) -> None:
        self.check_cancellable()
        cause = RollbackCause(code=Code.CANCELLED, message=reason)
        self.events.on_event(self.events.event(Fact.CANCELLATION_REQUESTED, cause))

    def check_cancellable(self) -> None:
        if not self._role.is_decider:
            raise CancelRefused(f"{self._service} does not decide about the order: ask its participant `order`")
        if self._confirming:
            raise CancelRefused("the confirmation has been requested: the order can only go forward")

    def move_deadline(self, moved: MoveDeadline) -> None:
        self.check_deadline(moved.until)

    def check_deadline(self, until: datetime) -> None:
        raise DeadlineRefused("the deadline of a choreography cannot be moved: it is the order's own")

    async def run(self) -> None:
        """Perform the role. Raises `ApplicationError`, and publishes nothing, if the order service refuses the order.

        A participant that failed so is not completed: participants of the order on record may start it again.
        """
        role, events = self._role, self.events
        timers = [asyncio.create_task(events.republish())]
        if role.is_decider:
            timers.append(asyncio.create_task(self._deadline_timer()))
        for step in role.steps:
            if not await self._is_next(step) or not await self._step(step):
                break
        if self._rejection is None:
            await events.until(lambda: self._is_decided)
            await self._finish_or_undo()
        if self._rejection is not None:
            self._journal.move(State.ROLLED_BACK, self._rejection)
        await events.delivered()
        await self._announced()
        for timer in timers:
            timer.cancel()
        if self._rejection is not None:
            raise ApplicationError(self._rejection.message, type=self._rejection.code, non_retryable=True)

    @property
    def _is_decided(self) -> bool:
        return self.events.is_due(self._role.finish) or self.events.is_due(self._role.undo)

    async def _is_next(self, step: Reaction) -> bool:
        """Wait until `step` is due. False if the order is decided before."""
        await self.events.until(lambda: self._is_decided or self.events.is_due(step))
        return not self._is_decided

    async def _deadline_timer(self) -> None:
        await workflow.sleep(timedelta(seconds=self._order.deadline_s), summary="deadline")
        cause = RollbackCause.of(deadline_exceeded(self._order.deadline_s))
        self.events.on_event(self.events.event(Fact.DEADLINE_PASSED, cause))

    async def _step(self, step: Reaction) -> bool:
        """Make a step. False if it has failed.

        It is abandoned if the order is cancelled meanwhile: its undo is safe at any time.
        """
        [made] = step.calls
        entry = self._journal.begin(made.operation.name, made.kind)
        call = asyncio.create_task(attempt(made.operation, made.request, POLICIES.forward))
        await until(lambda: call.done() or self.events.is_due(self._role.undo))
        if not call.done():
            call.cancel()
        ended: Outcome[Any]
        try:
            ended = await call
        except asyncio.CancelledError:  # before the call was sent, or between two questions to a service at work
            ended = Unknown(Code.CANCELLED, "the call was cancelled while it ran", 1)
        failure = self._journal.record(entry, ended)
        if failure is None:
            self.events.publish(step.emits, step)
            return True
        if isinstance(ended, Refused):
            self._note_rejection(failure)
        if step.emits_on_failure is not None and not self.events.is_due(self._role.undo):
            self.events.publish(step.emits_on_failure, step, cause=RollbackCause.of(failure))
        return False

    def _note_rejection(self, refusal: Failure) -> None:
        """Note it if the order service has refused the order itself, and not because of an earlier decision about it.

        What the other services have done belongs to the order on record then, and is not undone here.
        """
        if self._role.is_decider and refusal.code not in (Code.STEP_UNDONE, Code.CANCEL_REFUSED):
            self._rejection = refusal

    async def _finish_or_undo(self) -> None:
        if not self.events.is_due(self._role.undo) and await self._finish():
            return
        refusal = await self._undo()
        if refusal is None:
            return
        self._note_rejection(refusal)
        if self._rejection is None:  # an earlier run of this participant, closed since, has confirmed the order
            self._confirming = True
            await self._conclude(self._role.finish, State.CONFIRMED)

    async def _finish(self) -> bool:
        """Make the finish; for the order's participant, confirm the order. False if the order service refuses that."""
        finish, self._confirming = self._role.finish, True
        refusal, skipped = await self._make(finish.calls, may_refuse=lambda _: True)
        if refusal is not None and finish.emits_on_failure is not None:
            self._confirming = False
            self.events.publish(finish.emits_on_failure, finish, cause=RollbackCause.of(refusal))
            return False
        await self._conclude(finish, State.CONFIRMED, skipped=skipped)
        return True

    async def _undo(self) -> Failure | None:
        """Make the undo; for the order's participant, cancel the order. The refusal, if the order service refuses that.

        A refused step is undone too. The refusal may have been of another build's request, and a customer who could not
        be notified of the confirmation is notified of the cancellation.
        """
        undo, is_decider = self._role.undo, self._role.is_decider
        reason = next(event for fact, event in self.events.happened.items() if fact in undo.on)
        failure = reason.cause.failure if reason.cause is not None else Failure(Code.ABANDONED, reason.fact)
        if not is_decider:
            self._journal.move(State.COMPENSATING, failure)
        final = (Code.CANCEL_REFUSED, Code.IDEMPOTENCY_CONFLICT)
        calls = [replace(call, request=call.request_after(failure)) for call in undo.calls]
        refusal, skipped = await self._make(calls, may_refuse=lambda code: code in final)
        if refusal is not None:
            return replace(refusal, step=calls[0].operation.step)  # as its creation would be
        self._journal.move(State.COMPENSATING, failure)
        await self._conclude(undo, State.ROLLED_BACK, cause=RollbackCause.of(failure), skipped=skipped)
        return None

    async def _conclude(
        self, last: Reaction, end: State, *, cause: RollbackCause | None = None, skipped: bool = False
    ) -> None:
        """Publish the result of the role, and return when all that must follow has happened and is delivered.

        What was parked is announced before: the order's participant announces the end after it has heard the result.
        """
        await self._announced()
        self.events.publish(last.emits, last, cause=cause, skipped=skipped)
        await self.events.until(lambda: last.until <= self.events.happened.keys())
        await self.events.delivered()
        self._journal.end(end, with_skips=any(self.events.happened[fact].skipped for fact in last.until))

    async def _announced(self) -> None:
        if self._announcer is not None:
            await self._announcer.done()

    async def _make(
        self, calls: Sequence[PlannedCall], may_refuse: Callable[[str], bool]
    ) -> tuple[Failure | None, bool]:
        """Make `calls` in order. Return the refusal of a decision, which ends them, and whether any call was skipped.

        `may_refuse` tells with which codes a decision may be refused; any other call is repeated until it is done.
        """
        skipped = False
        for call in calls:
            entry = self._journal.begin(call.operation.name, call.kind)
            if call.kind is CallKind.BEST_EFFORT:
                summary = summary_of(call.operation, call.kind)
                self._journal.record(entry, await attempt(call.operation, call.request, POLICIES.best_effort, summary))
                continue
            is_decision = call.kind is CallKind.PIVOT
            policy = POLICIES.undo if call.kind is CallKind.UNDO else POLICIES.finish
            ended = await self._calls.until_done(
                entry, call.operation, call.request, policy, may_refuse=may_refuse if is_decision else lambda _: False
            )
            refusal = self._journal.record(entry, ended) if is_decision and ended is not None else None
            if refusal is not None:
                return refusal, skipped
            skipped = skipped or ended is None
        return None, skipped


@workflow.defn
class ParticipantWorkflow(CancellableOrderWorkflow):
    """Completes when its service's role is complete, whether the order was confirmed or rolled back. If it is closed in
    any other way, the next event starts it again.

    Fails with the order service's refusal if the order on record has another content or another coordinator.
    """

    @workflow.init
    def __init__(self, document: Any = None) -> None:
        self._order = parse_input(Order, document, Code.INVALID_ORDER)
        self._participant = Participant(_service_of(self._order), self._order)

    @property
    def observed(self) -> Participant:
        return self._participant

    @workflow.run
    async def run(self, document: Any = None) -> Participation:
        """`document` is an `Order` as JSON, as in every event about it.

        Temporal's own cancellation of the order's participant cancels the order, if that is still possible.
        """
        await run_to_completion(self._participant.run(), on_cancel=self._cancel_if_possible)
        return Participation(log=self._participant.log, published=tuple(self._participant.events.published))

    def _cancel_if_possible(self, reason: str) -> None:
        with suppress(CancelRefused):
            self._participant.cancel(reason)

    def _check_request(self, request: dict[str, Any]) -> None:
        check_order_of(request, self._order)

    @workflow.query
    def outline(self) -> Outline:
        """The plan of the whole order, of which this is the part of one service."""
        return Outline.of(self._participant.plan)

    @workflow.signal(dynamic=True)
    def on_event(self, name: str, arguments: Sequence[RawValue]) -> None:
        """Take an `Event` as JSON, whatever the signal's name: senders name it by the fact, for people to read.

        Any client can send a signal, so one that is no event must not end the workflow.
        """
        try:
            [document] = (workflow.payload_converter().from_payload(each.payload) for each in arguments)
            self._participant.events.on_event(Event.model_validate(document))
        except ValidationError as error:
            workflow.logger.warning("%s is not an event: %s", name, first_problem(error))
        except Exception as error:  # noqa: BLE001 — as the SDK does: a payload that cannot be read drops the signal
            workflow.logger.warning("%s is not an event: %s", name, error)


def _service_of(placed: Order) -> str:
    """The service that the workflow's id names: an order has one participant for each service."""
    for service in PARTICIPANTS:
        if workflow.info().workflow_id == participant_id(placed.order_id, service):
            return service
    message = f"workflow id must be {participant_id(placed.order_id, 'SERVICE')}, of {', '.join(PARTICIPANTS)}"
    raise ApplicationError(message, type=Code.INVALID_ORDER, non_retryable=True)
