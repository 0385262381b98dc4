"""Orders, whichever way they travel: placed, looked at, cancelled and redone."""

import asyncio
from collections.abc import Iterable
from enum import StrEnum

from pydantic import ValidationError
from temporalio.client import Client
from temporalio.exceptions import WorkflowAlreadyStartedError

from client import handles
from client.engines.batch import BatchEngine
from client.engines.choreography import ChoreographyEngine
from client.engines.engine import (
    Engine,
    OrderInput,
    OrderStatus,
    SingleOrderEngine,
    Until,
    is_duplicate_of_other,
    status_at,
)
from client.engines.saga import SagaEngine, take_over
from client.errors import (
    AlreadyEnded,
    CancelRefused,
    ClosedFromOutside,
    DuplicateOrder,
    NothingToRedo,
    OrderRetired,
    UnknownOrder,
    UnreadableOrder,
)
from client.outage import OutageBudget
from client.records import Records, as_on_record, coordinator_of, on_record
from client.standing import closed_from_outside
from client.transactions import Transactions
from contracts.errors import Code
from contracts.ids import Coordinator, Kind, order_id_of, order_workflow_id, participant_id, transaction_workflow_id
from contracts.message import same
from contracts.order import Order, OrderOnRecord, OrderState
from runtime.execute import OperationFailed
from temporal_saga import Failure, State, TransactionLog

_RECORD_S = 2
"""How long a start that nobody waits for asks the order service whether it knows the order."""


class Mode(StrEnum):
    """How an order travels."""

    SAGA = "saga"
    COLOCATED = "colocated"
    CHOREOGRAPHY = "choreography"
    BATCH = "batch"


class Orders:
    """`known_as` is an order's id, a transaction's id, or the id of the workflow of either."""

    def __init__(self, client: Client, budget: OutageBudget | None = None) -> None:
        self.client = client
        self.budget = budget or OutageBudget()
        self._batches: dict[str, BatchEngine] = {}

    async def start(self, placed: Order, mode: Mode) -> TransactionLog:
        """Start the order and return how it stands: as its first placing does, if it was placed before in any mode.

        Raises `DuplicateOrder`, `OrderRetired`, and `ValueError` for a batch.
        """
        engine = self._engine_of_mode(mode)
        try:
            await engine.start(placed)
        except DuplicateOrder as refused:
            return (await self._standing(await self._first(placed, refused))).log
        try:
            async with asyncio.timeout(_RECORD_S):
                known = await on_record(self.client, [placed.transaction_id])
        except (TimeoutError, OperationFailed):  # it waits for the order service, as any other order does
            known = Records()
        if (first := known.get(placed.transaction_id)) is not None:
            return (await self._standing(_require_same(first, placed))).log
        now = await engine.status(placed.order_id)
        return TransactionLog(placed.transaction_id, State.RUNNING) if now is None else now.log

    async def place(self, placed: Order, mode: Mode, until: Until = Until.ENDED) -> TransactionLog:
        """Start the order and wait for its end, or decision, through outages of Temporal. A second placing has the
        first outcome.

        Raises `DuplicateOrder`, `OrderRetired`, `RPCError` when the outage budget is spent, and `ValueError` for a
        batch.
        """
        engine = self._engine_of_mode(mode)

        async def start_and_wait() -> TransactionLog | None:
            if until is Until.CONFIRMED:
                return await engine.decision(placed)
            await engine.start(placed)
            self.budget.answered()
            return await engine.wait(placed)

        refused = None
        try:
            log = await self.budget.retried(start_and_wait)
        except DuplicateOrder as error:
            log, refused = None, error
        if log is not None and log.error is not None and log.error.code == Code.RETIRED:
            raise OrderRetired(f"{log.error.message}; choose another id")
        if log is not None and not _is_duplicate(log):
            return log
        return await self._first_outcome(await self._first(placed, refused))

    async def _first(self, placed: Order, refused: DuplicateOrder | None) -> OrderOnRecord:
        """The order as it was placed before, in whatever mode. Raises `DuplicateOrder` if its content is another."""
        first = (await on_record(self.client, [placed.transaction_id])).get(placed.transaction_id)
        if first is None and refused is not None:  # by its own workflow, which has not created it, or never will
            own = OrderInput.of(await handles.started_with(self.client, placed.transaction_id))
            if own is not None:
                first = OrderOnRecord(order=own.order, coordinator=own.coordinator, state=OrderState.PENDING)
        if first is None:
            raise refused or DuplicateOrder.of_other_content(placed.order_id)
        return _require_same(first, placed)

    async def first_outcomes(self, again: Iterable[Order]) -> list[TransactionLog]:
        """The outcomes of orders that were placed before. An order of another content is a log with DUPLICATE_ORDER.

        Raises `OperationFailed` and `UnreadableOrder`.
        """
        placed = list(again)
        known = await on_record(self.client, [each.transaction_id for each in placed])
        logs = []
        for each in placed:
            first = known.get(each.transaction_id)
            if first is None or not same(first.order, each):
                refused = DuplicateOrder.of_other_content(each.order_id)
                failure = Failure(refused.code, refused.message)
                logs.append(TransactionLog(each.transaction_id, State.ROLLED_BACK, failure))
            else:
                logs.append(await self._first_outcome(first))
        return logs

    async def end_of(self, placed: Order) -> TransactionLog:
        """The end of an order that has a workflow of its own; how it stands otherwise, for it may wait for a sweep."""
        own = await SagaEngine(self.client).status(placed.order_id)
        if own is not None and not own.is_duplicate_of_other:
            log = await SagaEngine(self.client).wait(placed)
            if log is not None:
                return log
        return (await self.status(placed.order_id)).log

    async def status(self, known_as: str) -> OrderStatus:
        """How an order or a transaction stands, according to the first of these workflows that exists:

        1. its own, unless that was refused as a duplicate: it acts in the coordinator's name;
        2. the coordinator that the order service's record names;
        3. without a record, or a worker that reads it, the order's participant in a choreography.

        Raises `UnknownOrder`, `OrderRetired`, `UnreadableOrder` and `OperationFailed`.
        """
        order_id, kind = order_id_of(known_as), Coordinator.parse(known_as).kind
        own = None if kind is Kind.TRANSACTION else await status_at(self.client, order_workflow_id(order_id))
        if own is None and kind is not Kind.ORDER:
            name = known_as if kind is Kind.TRANSACTION else transaction_workflow_id(known_as)
            own = await status_at(self.client, name)
        if own is not None and not own.is_duplicate_of_other:
            return own
        found = await self._by_record(order_id, is_refused=own is not None) or own
        if found is None:
            raise UnknownOrder.known_as(known_as)
        return found

    async def document_of(self, known_as: str, now: OrderStatus) -> Order | None:
        """The order as it was placed; `None` if its workflow and the order service have it no more.

        Raises `OperationFailed` and `UnreadableOrder`.
        """
        try:
            return (await self._started_with(known_as, now.coordinator)).order
        except NothingToRedo:
            return None

    async def cancel(self, known_as: str, reason: str) -> TransactionLog:
        """Ask for an order's cancellation, and return how it stands then.

        Raises `CancelRefused`, `AlreadyEnded`, `ClosedFromOutside`, `Paused`, and `NotAnswered` without a worker.
        """
        now, asked = await self.status(known_as), False
        if not now.has_ended:
            if now.coordinator.kind is Kind.TRANSACTION:
                workflow_id = now.coordinator.workflow_id
                told = f"`temporal workflow cancel -w {workflow_id}` rolls it back, as long as it can be"
                raise CancelRefused(f"{workflow_id} is no order: {told}")
            asked = await self._engine_of(now.coordinator).cancel(order_id_of(known_as), reason)
            now = await self.status(known_as)
        if now.has_ended:
            _require_cancelled(known_as, now.log, asked=asked)
        return now.log

    async def redo(self, known_as: str) -> TransactionLog:
        """Bring a closed order or transaction to its end again, through the fence, where services have forgotten it.

        Raises `UnknownOrder` and `NothingToRedo`.
        """
        try:
            now = await self.status(known_as)
        except UnknownOrder as unknown:
            forgotten = "if the order service has forgotten one of a batch, docs/runbook.md says what to do"
            raise UnknownOrder(f"{unknown.message}; {forgotten}") from unknown
        if not now.closed:
            raise NothingToRedo(f"{known_as} is under way; redo is for orders that have ended")
        try:
            if now.coordinator.kind is Kind.TRANSACTION:
                return await Transactions(self.client).redo(now.coordinator.workflow_id)
            placed, coordinator = await self._started_with(known_as, now.coordinator)
            await take_over(self.client, placed, coordinator, recovering=not now.log.state.is_confirmed)
        except WorkflowAlreadyStartedError as error:
            raise NothingToRedo(f"{known_as} is under way: another client was faster") from error
        return await self.end_of(placed)

    async def _started_with(self, known_as: str, coordinator: Coordinator) -> OrderInput:
        """The order that a coordinator has brought to its end, and in whose name."""
        if coordinator.kind is not Kind.BATCH:  # a batch was started with hundreds
            arguments = await handles.started_with(self.client, coordinator.workflow_id)
            started = OrderInput.of(arguments)
            if started is not None:
                by = started.coordinator if coordinator.kind is Kind.ORDER else coordinator.workflow_id
                return OrderInput(started.order, by)
        transaction = order_workflow_id(order_id_of(known_as))
        known = (await on_record(self.client, [transaction])).get(transaction)
        if known is None:
            raise NothingToRedo(f"{known_as} is not on record any more; docs/runbook.md says what to do")
        return OrderInput(known.order, known.coordinator)

    async def _first_outcome(self, first: OrderOnRecord) -> TransactionLog:
        log = await self._engine_of(coordinator_of(first)).wait(first.order)
        if log is not None and log.state.is_end and not _is_duplicate(log):
            return log
        return await self.end_of(first.order)

    async def _by_record(self, order_id: str, *, is_refused: bool) -> OrderStatus | None:
        """How an order stands by the coordinator on its record; `is_refused` is whether its own workflow was."""
        transaction, decider = order_workflow_id(order_id), participant_id(order_id)
        first, problem = None, None
        try:
            first = (await on_record(self.client, [transaction])).get(transaction)
        except ValidationError:  # no order can have this id
            return None
        except (OperationFailed, UnreadableOrder) as error:
            problem = error
        if first is None:
            if await handles.status_of(self.client, decider) is not None:
                return await ChoreographyEngine(self.client).status(order_id)
            if problem is not None:
                raise problem
            return None
        coordinator = coordinator_of(first)
        if coordinator.kind is Kind.ORDER and is_refused:
            return await self._before_it_was_refused(transaction) or as_on_record(first)
        return await self._standing(first)

    async def _standing(self, first: OrderOnRecord) -> OrderStatus:
        """How an order on record stands, by its coordinator."""
        return await self._engine_of(coordinator_of(first)).status(first.order.order_id) or as_on_record(first)

    async def _before_it_was_refused(self, transaction_id: str) -> OrderStatus | None:
        """How the newest run of an order's own workflow ended that was not refused: a batch that gets no answer leaves
        an order to such a workflow, and the order may have been placed before."""
        for run in await handles.runs_of(self.client, transaction_id):
            if not run.is_closed_from_outside:
                found = await status_at(self.client, transaction_id, run.run_id)
                if found is not None and not found.is_duplicate_of_other:
                    return found
        return None

    def _engine_of_mode(self, mode: Mode) -> SingleOrderEngine:
        match mode:
            case Mode.CHOREOGRAPHY:
                return ChoreographyEngine(self.client)
            case Mode.BATCH:
                raise ValueError("a batch is started with all of its orders: `client.bulk.place_many` places it")
            case _:
                return SagaEngine(self.client, colocated=mode is Mode.COLOCATED)

    def _engine_of(self, coordinator: Coordinator) -> Engine:
        match coordinator.kind:
            case Kind.BATCH:
                return self._batches.setdefault(
                    coordinator.workflow_id, BatchEngine(self.client, coordinator.workflow_id)
                )
            case Kind.PARTICIPANT:
                return ChoreographyEngine(self.client)
            case _:
                return SagaEngine(self.client)


def _require_same(first: OrderOnRecord, placed: Order) -> OrderOnRecord:
    if not same(first.order, placed):
        raise DuplicateOrder.of_other_content(placed.order_id)
    return first


def _is_duplicate(log: TransactionLog) -> bool:
    return log.error is not None and is_duplicate_of_other(log.error.code, log.error.step)


def _require_cancelled(known_as: str, log: TransactionLog, *, asked: bool) -> None:
    """Raise `ClientError` if the order came to its end without this cancel, and without one before it."""
    if not log.state.is_end:
        raise ClosedFromOutside(f"{known_as}: {(log.error or closed_from_outside(log.transaction_id)).message}")
    if log.state.is_confirmed or log.error is None:
        raise CancelRefused(f"{known_as} is confirmed: it ended {log.state}")
    if not asked and log.error.code != Code.CANCELLED:
        message = f"{known_as} has ended before: {log.state}, {log.error.code}; there is nothing left to cancel"
        raise AlreadyEnded(message)
