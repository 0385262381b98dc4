"""Some hundreds of orders carried through the process of `workflows/order.py` together, one set-based call a step.

Each order keeps its own saga's guarantees; what needs patience is handed to a workflow of its own. At each stage:

| an order | then |
|---|---|
| done | goes on with the others |
| refused, late, cancelled | leaves: undone with those that leave beside it, in reverse |
| unknown before the pivot | is handed over to go on from its beginning: what is done answers from the fence |
| unknown at the pivot, not done after it | is handed over to go on from its pivot |
| an undo does not get through | is handed over to be rolled back |
| undone before, or fails in a batch that was reset | is handed over to be rolled back: all of it, through the fence |
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError

from contracts.batch import BatchOutcome, InvalidBatch, OutcomeGroup, parse
from contracts.errors import Code
from contracts.order import Order, OrderOptions, RollbackCause
from saga import POLICIES, CallKind, Failure, Plan, Policy, State, TransactionLog
from saga.earlier import RerunDetector
from saga.journal import count_states
from saga.outcome import CANCELLED, STEP_UNDONE
from workflows.batch_call import call_many
from workflows.batch_member import BatchMember, grouped
from workflows.detach import detach
from workflows.order import Requests, planned

_ATTEMPT_TIMEOUT = timedelta(seconds=10)
"""A list of five hundred takes a tenth of a second; its attempt may also wait for as many lists before it."""
_FORWARD = POLICIES.forward.with_attempt_timeout(_ATTEMPT_TIMEOUT)
_POLICIES: dict[CallKind, Policy] = {
    CallKind.STEP: _FORWARD,
    CallKind.PIVOT: POLICIES.finish,
    CallKind.FINISH: POLICIES.finish,
    CallKind.BEST_EFFORT: POLICIES.best_effort.with_attempt_timeout(_ATTEMPT_TIMEOUT),
}


@workflow.defn
class BatchWorkflow:
    """Ends when each order has ended or has a workflow of its own. It fails only if its input is no batch."""

    @workflow.init
    def __init__(self, document: RawValue) -> None:
        try:
            orders, self._problems = parse(document.payload.data)
        except InvalidBatch as error:
            raise ApplicationError(str(error), type=Code.INVALID_ORDER, non_retryable=True) from None
        self._id = workflow.info().workflow_id
        self._begun = workflow.now()
        self._plans: dict[bool, Plan] = {}
        self._orders = {each.order_id: self._member(each) for each in orders}
        self._leaving: list[asyncio.Task[None]] = []
        self._rerun = RerunDetector()

    def _member(self, placed: Order) -> BatchMember:
        requests = Requests.of(placed, self._id)
        kind = requests.must_notify
        if kind not in self._plans:
            self._plans[kind] = planned(requests)
        return BatchMember(placed, requests, self._plans[kind])

    @workflow.run
    async def run(self, document: RawValue) -> BatchOutcome:
        """`document` is a list of `Order`s as JSON, within the bounds of `contracts/batch.py`."""
        carrying = asyncio.create_task(self._carry_all())
        while not carrying.done():
            try:
                await workflow.wait([carrying])
            except asyncio.CancelledError:  # Temporal's own: for every order that can still be cancelled
                reason = workflow.cancellation_reason() or "the batch was cancelled"
                for each in self._orders.values():
                    each.interruption = each.interruption or Failure(CANCELLED, reason)
        carrying.result()
        return self.outcome()

    async def _carry_all(self) -> None:
        await self._forward(list(self._orders.values()), 0)
        while not all(task.done() for task in self._leaving):  # who leaves may leave others behind
            await asyncio.gather(*self._leaving)
        self._count_ends()

    # --- forward ------------------------------------------------------------------------------------------------------

    async def _forward(self, orders: list[BatchMember], at: int) -> None:
        """Bring `orders` from place `at` of their plans to their end. Where the plans part, so do the orders."""
        while orders:
            groups: dict[str | None, list[BatchMember]] = {}
            for each in orders:
                groups.setdefault(each.stage_name(at), []).append(each)
            for each in groups.pop(None, []):
                each.state = State.CONFIRMED
            if len(groups) > 1:
                await asyncio.gather(*(self._forward(group, at) for group in groups.values()))
                return
            orders = await self._stage(next(iter(groups.values())), at) if groups else []
            at += 1

    async def _stage(self, orders: list[BatchMember], at: int) -> list[BatchMember]:
        """Make the calls of one stage side by side; those that go on."""
        stage = orders[0].plan.stages[at]
        if stage.kind in (CallKind.STEP, CallKind.PIVOT):
            orders = self._without_interrupted(orders, at)
        if not orders:
            return []
        for each in orders:
            each.decided = each.decided or stage.kind is CallKind.PIVOT
        failures = await asyncio.gather(
            *(
                call_many(
                    call.operation,
                    stage.kind,
                    [(each, each.request(each.plan.stages[at].calls[place])) for each in orders],
                    _POLICIES[stage.kind],
                )
                for place, call in enumerate(stage.calls)
            )
        )
        if stage.kind is CallKind.BEST_EFFORT or not any(failures):
            return orders
        return self._sorted_out(orders, at, failures)

    def _sorted_out(
        self, orders: list[BatchMember], at: int, failures: list[dict[BatchMember, Failure]]
    ) -> list[BatchMember]:
        """Those that go on. The others leave: back together, or each to a workflow of its own."""
        kind, elapsed = orders[0].plan.stages[at].kind, self._elapsed
        going, again, further = list[BatchMember](), list[BatchMember](), list[BatchMember]()
        back, all_of_it = list[BatchMember](), list[BatchMember]()
        for each in orders:
            heard = [failure[each] for failure in failures if each in failure]
            refusal = next((failure for failure in heard if each.was_refused(failure.step)), None)
            if not heard:
                going.append(each)
            elif kind is CallKind.FINISH or (kind is CallKind.PIVOT and refusal is None):
                further.append(each)
            elif each.interrupted(elapsed) or refusal:
                each.decided = False
                each.failure = each.interruption or refusal
                (all_of_it if self._was_ahead(refusal, at) else back).append(each)
            else:
                again.append(each)
        self._leave(self._roll_back(back, at))
        self._hand_back(all_of_it)
        self._leave(detach(again, self._going_on))
        self._leave(detach(further, lambda _: OrderOptions(coordinator=self._id, prepared=True)))
        return going

    def _without_interrupted(self, orders: list[BatchMember], at: int) -> list[BatchMember]:
        elapsed = self._elapsed
        back = [each for each in orders if each.interrupted(elapsed)]
        for each in back:
            each.failure = each.interruption
        if self._rerun.detected:
            self._hand_back(back)
        else:
            self._leave(self._roll_back(back, at))
        return [each for each in orders if each.interruption is None]

    @property
    def _elapsed(self) -> timedelta:
        return workflow.now() - self._begun

    # --- back ---------------------------------------------------------------------------------------------------------

    async def _roll_back(self, orders: list[BatchMember], at: int) -> None:
        """Undo together what `orders` may have done up to place `at` of their plans, and tell their customers."""
        for each in orders:
            each.state = State.COMPENSATING
        for stage in reversed(range(at + 1)):
            orders = await self._undo_stage(orders, stage)
        for each in orders:
            each.state = State.ROLLED_BACK
        letters = [
            (each, each.request(rollback_call))
            for each in orders
            if (rollback_call := each.plan.rollback_call) is not None and each.plan.rollback_call_from <= at
        ]
        if letters:
            rollback_call = letters[0][0].plan.rollback_call
            assert rollback_call is not None  # noqa: S101 — said above
            await call_many(rollback_call.operation, CallKind.BEST_EFFORT, letters, _POLICIES[CallKind.BEST_EFFORT])

    async def _undo_stage(self, orders: list[BatchMember], at: int) -> list[BatchMember]:
        """Those that are undone as far as this stage; the others are handed over."""
        calls = []
        for place, call in enumerate(orders[0].plan.stages[at].calls if orders else ()):
            its_own = ((each, each.plan.stages[at].calls[place]) for each in orders if each.to_undo(call))
            asked = [(each, each.request(own)) for each, own in its_own]
            if asked and call.undo is not None:
                calls.append(call_many(call.undo, CallKind.UNDO, asked, POLICIES.undo))
        stuck = {each for failed in await asyncio.gather(*calls) for each in failed}
        self._leave(detach([each for each in orders if each in stuck], self._rolling_back))
        return [each for each in orders if each not in stuck]

    def _hand_back(self, orders: list[BatchMember]) -> None:
        """Have each rolled back by a workflow of its own, that undoes the whole of it."""
        for each in orders:
            each.state = State.COMPENSATING
        self._leave(detach(orders, self._rolling_back))

    def _was_ahead(self, refusal: Failure | None, at: int) -> bool:
        """Whether an earlier run of this batch, or a sweep, may have done more of an order than this one has. One whose
        creation is refused is another coordinator's."""
        if refusal is not None and (refusal.code == STEP_UNDONE or at == 0):
            return refusal.code == STEP_UNDONE
        return self._rerun.detected

    def _going_on(self, _: BatchMember) -> OrderOptions:
        """A batch that was reset may have confirmed the order before: its own workflow asks for that first."""
        if self._rerun.detected:
            return OrderOptions(coordinator=self._id, recovering=True)
        return OrderOptions(coordinator=self._id, placed_at=self._begun)

    def _rolling_back(self, each: BatchMember) -> OrderOptions:
        assert each.failure is not None  # noqa: S101 — it is being rolled back
        why = RollbackCause(code=each.failure.code, message=each.failure.message, step=each.failure.step)
        return OrderOptions(coordinator=self._id, cause=why)

    def _leave(self, work: Coroutine[Any, Any, None]) -> None:
        """Beside those that go on: nobody waits for who leaves, but the batch."""
        self._leaving.append(asyncio.create_task(work))

    # --- what people ask of it ----------------------------------------------------------------------------------------

    @workflow.query
    def transaction_log(self, order_id: str) -> TransactionLog:
        """Every step of one order so far, as `OrderWorkflow` tells it."""
        return self._known(order_id).transaction_log

    @workflow.query
    def outcome(self) -> BatchOutcome:
        """All orders as they stand now."""
        invalid = [
            OutcomeGroup(state=State.ROLLED_BACK, code=Code.INVALID_ORDER, order_ids=(order_id,), messages=(problem,))
            for order_id, problem in self._problems.items()
        ]
        return BatchOutcome(groups=(*grouped(self._orders.values()), *invalid))

    @workflow.update
    def cancel_order(self, order_id: str, reason: str) -> None:
        """Roll one order back at its next step; refused with CANCEL_REFUSED once its confirmation was asked for."""
        each = self._known(order_id)
        each.interruption = each.interruption or Failure(CANCELLED, reason)

    @cancel_order.validator
    def _cancel_is_possible(self, order_id: str, reason: str) -> None:
        each = self._known(order_id)
        if each.decided:
            message = "the pivot has been reached: the order can only go forward"
            raise ApplicationError(message, type=Code.CANCEL_REFUSED, non_retryable=True)
        if each.detached:
            message = "the order has a workflow of its own by now: ask again"
            raise ApplicationError(message, type=Code.CANCEL_REFUSED, non_retryable=True)

    def _known(self, order_id: str) -> BatchMember:
        try:
            return self._orders[order_id]
        except KeyError:
            message = f"this batch carries no order {order_id[:80]}"
            raise ApplicationError(message, type=Code.UNKNOWN_ORDER, non_retryable=True) from None

    def _count_ends(self) -> None:
        ends = Counter((each.state, each.failure.code if each.failure else None) for each in self._orders.values())
        for (state, code), orders in ends.items():
            count_states(state, code, orders)
