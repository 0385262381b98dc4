"""Hundreds of orders through the process of `workflows/order.py`, with one set-based call for each step.

Each order has the guarantees of a saga of its own. An order that has to wait is detached: a workflow of its own takes
it over. At each stage:

| the order's call is | then the order |
|---|---|
| done | continues with the others |
| refused, or the order is late or cancelled | is rolled back, together with the others that fail at this stage |
| unknown before the pivot | is detached and starts from its beginning: the fence answers what is done already |
| unknown at the pivot, or not done after it | is detached and continues from its pivot |
| an undo that is not done | is detached and rolled back there |
| refused because it was undone before, or fails in a batch that was reset | is detached and its whole plan undone |
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError

from contracts.batch import BatchOutcome, InvalidBatch, OutcomeGroup, parse
from contracts.errors import Code
from contracts.order import OrderOptions, RollbackCause
from contracts.outline import Outline
from temporal_saga import POLICIES, CallKind, Failure, PlannedCall, Policy, State, TransactionLog, run_to_completion
from temporal_saga.announcer import Announcer
from temporal_saga.earlier import RerunDetector
from temporal_saga.journal import count_states
from temporal_saga.outcome import CANCELLED, STEP_UNDONE
from temporal_saga.visibility import SAGA_STATE, upsert
from temporal_saga.waiting import until
from workflows.announcing import announced
from workflows.batch_call import call_many
from workflows.batch_member import BatchMember, grouped
from workflows.detach import detach
from workflows.order import Requests, planned

_ATTEMPT_TIMEOUT = timedelta(seconds=10)
"""A batch of five hundred requests takes a tenth of a second, and its attempt may wait for other batches."""
_POLICIES: dict[CallKind, Policy] = {
    CallKind.STEP: POLICIES.forward.with_attempt_timeout(_ATTEMPT_TIMEOUT),
    CallKind.PIVOT: POLICIES.finish,
    CallKind.FINISH: POLICIES.finish,
    CallKind.BEST_EFFORT: POLICIES.best_effort.with_attempt_timeout(_ATTEMPT_TIMEOUT),
}


_BADNESS = (State.CONFIRMED, State.ROLLED_BACK, State.RUNNING, State.COMPENSATING)
"""States of the orders of a completed batch, the worst last: the last two are those of orders that it has detached."""


@workflow.defn
class BatchWorkflow:
    """Ends when each order has ended or has a workflow of its own. Fails only if its input is not a batch."""

    @workflow.init
    def __init__(self, document: RawValue) -> None:
        try:
            orders, self._problems = parse(document.payload.data)
        except InvalidBatch as error:
            raise ApplicationError(str(error), type=Code.INVALID_ORDER, non_retryable=True) from None
        self._id = workflow.info().workflow_id
        self._started = workflow.now()
        # Each order has its own plan: orders of one batch may differ in their steps.
        self._members = {each.order_id: BatchMember(each, planned(Requests.of(each, self._id))) for each in orders}
        self._background: list[asyncio.Task[None]] = []
        self._rerun = RerunDetector()

    @workflow.run
    async def run(self, document: RawValue) -> BatchOutcome:
        """`document` is a list of `Order`s as JSON, within the limits of `contracts/batch.py`.

        Temporal's own cancellation cancels every order that can still be cancelled.
        """
        await run_to_completion(self._process(), on_cancel=self._interrupt_all)
        return self.outcome()

    async def _process(self) -> None:
        await self._forward(list(self._members.values()), 0)
        while not all(task.done() for task in self._background):  # a rollback may detach orders, in a new task
            await asyncio.gather(*self._background)
        self._count_ends()
        self._show_counts()
        states = [member.state for member in self._members.values()]
        states += [State.ROLLED_BACK] if self._problems else []
        worst = max(states, key=_BADNESS.index)
        if worst is not State.CONFIRMED:  # as of a saga: a workflow that completed without the attribute is confirmed
            upsert([SAGA_STATE.value_set(str(worst))], "batch")
        await self._announce_ends()

    def _interrupt_all(self, reason: str) -> None:
        for member in self._members.values():
            member.interrupt(Failure(CANCELLED, reason))

    # --- forward ------------------------------------------------------------------------------------------------------

    async def _forward(self, members: list[BatchMember], index: int) -> None:
        """Bring the orders from stage `index` of their plans to their end. Orders with different plans are separated at
        the first stage that differs."""
        while members:
            groups: dict[str | None, list[BatchMember]] = {}
            for member in members:
                groups.setdefault(member.stage_name(index), []).append(member)
            for member in groups.pop(None, []):
                member.state = State.CONFIRMED
            if len(groups) > 1:
                await asyncio.gather(*(self._forward(group, index) for group in groups.values()))
                return
            members = await self._stage(next(iter(groups.values())), index) if groups else []
            index += 1

    async def _stage(self, members: list[BatchMember], index: int) -> list[BatchMember]:
        """Make the calls of one stage, side by side. Return the orders that continue."""
        stage = members[0].plan.stages[index]
        if stage.kind in (CallKind.STEP, CallKind.PIVOT):
            members = self._without_interrupted(members, index)
        if not members:
            return []
        for member in members:
            member.decided = member.decided or stage.kind is CallKind.PIVOT
        calls = (self._call(call, place, index, members) for place, call in enumerate(stage.calls))
        failures = await asyncio.gather(*calls)
        done = self._without_failed(members, index, failures) if any(failures) else members
        for member in done:
            member.past_pivot = member.past_pivot or stage.kind is CallKind.PIVOT
        self._show_counts()
        return done

    async def _call(
        self, call: PlannedCall, place: int, index: int, members: list[BatchMember]
    ) -> dict[BatchMember, Failure]:
        """Make one call of a stage for all orders. Return the failures that decide how an order continues."""
        own = [(member, member.plan.stages[index].calls[place].request) for member in members]
        failures = await call_many(call.operation, call.kind, own, _POLICIES[call.kind])
        return {} if call.kind is CallKind.BEST_EFFORT else failures

    def _without_failed(
        self, members: list[BatchMember], index: int, failures: list[dict[BatchMember, Failure]]
    ) -> list[BatchMember]:
        """Return the orders that continue. Roll the others back together, or detach them."""
        kind, elapsed = members[0].plan.stages[index].kind, self._elapsed
        done, restart, beyond_pivot = list[BatchMember](), list[BatchMember](), list[BatchMember]()
        back, detached_back = list[BatchMember](), list[BatchMember]()
        for member in members:
            own = [failed[member] for failed in failures if member in failed]
            refusal = next((failure for failure in own if member.was_refused(failure.step)), None)
            if not own:
                done.append(member)
            elif kind is CallKind.FINISH or (kind is CallKind.PIVOT and refusal is None):
                beyond_pivot.append(member)
            elif member.is_interrupted(elapsed) or refusal:
                member.decided = False
                member.failure = member.interruption or refusal
                (detached_back if self._may_be_ahead(refusal, index) else back).append(member)
            else:
                restart.append(member)
        self._in_background(self._roll_back(back, index))
        self._detach_to_roll_back(detached_back)
        self._in_background(detach(restart, self._restart_options))
        self._in_background(detach(beyond_pivot, lambda _: OrderOptions(coordinator=self._id, prepared=True)))
        return done

    def _without_interrupted(self, members: list[BatchMember], index: int) -> list[BatchMember]:
        elapsed = self._elapsed
        back = [member for member in members if member.is_interrupted(elapsed)]
        for member in back:
            member.failure = member.interruption
        if self._rerun.detected:
            self._detach_to_roll_back(back)
        else:
            self._in_background(self._roll_back(back, index))
        return [member for member in members if member.interruption is None]

    @property
    def _elapsed(self) -> timedelta:
        return workflow.now() - self._started

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` beside the orders that continue; only the end of the batch waits for it."""
        self._background.append(asyncio.create_task(work))

    # --- back ---------------------------------------------------------------------------------------------------------

    async def _roll_back(self, members: list[BatchMember], index: int) -> None:
        """Undo together what the orders may have done up to stage `index`, and notify their customers."""
        for member in members:
            member.state = State.COMPENSATING
        for stage in reversed(range(index + 1)):
            members = await self._undo_stage(members, stage)
        for member in members:
            member.state = State.ROLLED_BACK
        calls = [
            (member, member.plan.rollback_call)
            for member in members
            if member.plan.rollback_call is not None and member.plan.rollback_call_from <= index
        ]
        if calls:
            operation, policy = calls[0][1].operation, _POLICIES[CallKind.BEST_EFFORT]
            own = [(member, call.request_after(member.failure)) for member, call in calls]
            await call_many(operation, CallKind.BEST_EFFORT, own, policy)

    async def _undo_stage(self, members: list[BatchMember], index: int) -> list[BatchMember]:
        """Return the orders whose stage is undone; the others are detached."""
        undos = []
        for place, call in enumerate(members[0].plan.stages[index].calls if members else ()):
            own_calls = ((member, member.plan.stages[index].calls[place]) for member in members)
            own = [(member, own_call.request) for member, own_call in own_calls if member.must_undo(own_call)]
            if own and call.undo is not None:
                undos.append(call_many(call.undo, CallKind.UNDO, own, POLICIES.undo))
        failed = {member for failures in await asyncio.gather(*undos) for member in failures}
        self._in_background(detach([member for member in members if member in failed], self._rollback_options))
        return [member for member in members if member not in failed]

    def _detach_to_roll_back(self, members: Sequence[BatchMember]) -> None:
        """Have each order rolled back by a workflow of its own, which undoes its whole plan."""
        for member in members:
            member.state = State.COMPENSATING
        self._in_background(detach(members, self._rollback_options))

    def _may_be_ahead(self, refusal: Failure | None, index: int) -> bool:
        """Whether an earlier run of this batch, or a sweep, may have done more of an order than this run.

        Not if the creation of the order was refused: it belongs to another coordinator.
        """
        if refusal is not None and refusal.code == STEP_UNDONE:
            return True
        creation_was_refused = refusal is not None and index == 0
        return self._rerun.detected and not creation_was_refused

    def _restart_options(self, _: BatchMember) -> OrderOptions:
        """An earlier run of a batch that was reset may have confirmed the order: its workflow finds that out first."""
        if self._rerun.detected:
            return OrderOptions(coordinator=self._id, recovering=True)
        return OrderOptions(coordinator=self._id, placed_at=self._started)

    def _rollback_options(self, member: BatchMember) -> OrderOptions:
        assert member.failure is not None  # noqa: S101 — it is being rolled back
        return OrderOptions(coordinator=self._id, cause=RollbackCause.of(member.failure))

    # --- queries and updates ------------------------------------------------------------------------------------------

    @workflow.query
    def transaction_log(self, order_id: str) -> TransactionLog:
        """Return the log of one order, in the form of `OrderWorkflow.transaction_log`."""
        return self._known(order_id).transaction_log

    @workflow.query
    def outline(self, order_id: str) -> Outline:
        """The plan of one order."""
        return Outline.of(self._known(order_id).plan)

    @workflow.query
    def outcome(self) -> BatchOutcome:
        """Return the present state of all orders."""
        return self._outcome(lambda member: member.state)

    @workflow.update
    async def decision(self) -> BatchOutcome:
        """Return the state of all orders as soon as each is decided: the pivot of a CONFIRMED order is done, though its
        finishes may be open. Orders that were rolled back have ended, and detached ones have workflows of their own."""
        await until(lambda: all(member.has_decision for member in self._members.values()))
        return self._outcome(lambda member: member.decision)

    def _outcome(self, state_of: Callable[[BatchMember], State]) -> BatchOutcome:
        invalid = [
            OutcomeGroup(state=State.ROLLED_BACK, code=Code.INVALID_ORDER, order_ids=(order_id,), messages=(problem,))
            for order_id, problem in self._problems.items()
        ]
        return BatchOutcome(groups=(*grouped(self._members.values(), state_of), *invalid))

    @workflow.update
    def cancel_order(self, order_id: str, reason: str) -> None:
        """Roll one order back at its next step. Refused with CANCEL_REFUSED once its pivot has been called."""
        self._known(order_id).interrupt(Failure(CANCELLED, reason))

    @cancel_order.validator
    def _cancel_is_possible(self, order_id: str, reason: str) -> None:
        member = self._known(order_id)
        if member.decided:
            message = "the pivot has been reached: the order can only go forward"
            raise ApplicationError(message, type=Code.CANCEL_REFUSED, non_retryable=True)
        if member.detached:
            message = "the order has a workflow of its own by now: ask again"
            raise ApplicationError(message, type=Code.CANCEL_REFUSED, non_retryable=True)

    def _known(self, order_id: str) -> BatchMember:
        try:
            return self._members[order_id]
        except KeyError:
            message = f"this batch has no order {order_id[:80]}"
            raise ApplicationError(message, type=Code.UNKNOWN_ORDER, non_retryable=True) from None

    def _show_counts(self) -> None:
        """Show in the Web UI how many orders are in which state."""
        told = Counter("detached" if member.detached else str(member.state) for member in self._members.values())
        told["invalid"] = len(self._problems)
        lines = [f"- {state}: {orders}" for state, orders in sorted(told.items()) if orders]
        workflow.set_current_details("\n".join([f"**{told.total()} orders**", "", *lines]))

    async def _announce_ends(self) -> None:
        """Announce the end of each order that has no workflow of its own."""
        if (operation := announced()) is None:
            return
        announcer = Announcer(operation)
        for member in self._members.values():
            if member.state.is_end:
                announcer.changed(State.RUNNING, member.transaction_log)
        await announcer.done()

    def _count_ends(self) -> None:
        """Count the orders that have no workflow of their own, which would count them too."""
        ended = [member for member in self._members.values() if member.state.is_end]
        ends = Counter((member.state, member.failure.code if member.failure else None) for member in ended)
        for (state, code), orders in ends.items():
            count_states(state, code, orders)
