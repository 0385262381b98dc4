"""The notification service with gateways to the outside: a message is claimed, handed over and noted, and only then its
operation is performed.

A call to the outside cannot be part of a local transaction. So an operation takes three:

1. *Claim.* The fence is asked whether it would let the operation act. If so, a row of `deliveries` for each channel
   becomes SENDING: from here on no other attempt sends that message.
2. *Note.* The gateway has been called, outside any transaction, and the row becomes what came of it (`DeliveryState`).
3. *Perform.* The operation passes the fence as any other, and is decided by its rows.

| the rows say | a confirmation is | a cancellation, which is an undo, is |
|---|---|---|
| a message is NOT_SENT, or another attempt sends it | not performed; the attempt fails and is retried | the same |
| the first channel has REFUSED | refused: NOTIFICATION_FAILED. No other channel is used | done |
| a message is SENT | done | done |
| the only ones handed over are IN_DOUBT | not performed: its outcome is unknown | done |

The promise: a gateway is handed a message at most once, unless it drops repeats by their key, or has said that it did
not take the message. A worker that dies between claim and note leaves SENDING behind; when the claim is over, that is
IN_DOUBT, which never becomes anything that is sent again.

No confirmation follows its cancellation: a cancellation waits for the claims of the confirmation to end, and a
confirmation is not claimed once there is a row of a cancellation.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import Connection
from temporalio import activity
from temporalio.common import MetricMeter
from temporalio.exceptions import ApplicationError

from activities.database import TRANSACTION_ERRORS, Database
from activities.definition import Handler
from activities.fence import RefusedDecision, digest, would_act
from activities.gateways import Delivery, Gateway
from activities.notification import SUBJECTS, DeliveryRecord, DeliveryState, address_of, delivered_by
from activities.records import Ref, UnitOfWork
from activities.service import OperationCall, Service
from contracts.errors import Code
from contracts.message import Reply, Request
from contracts.notification import Channel, NotifyCustomer
from contracts.order import OrderState

RequestT = TypeVar("RequestT", bound=Request)
ReplyT = TypeVar("ReplyT", bound=Reply)

DELIVERY_S = 10.0
"""Time to hand over the messages of one call. It may be longer than an attempt: the delivery goes on without it, and
the next attempt waits for its outcome. A mail server that scans what it takes needs seconds."""
CLAIM_S = 15.0
"""Life of a claim: the time of a delivery, and of the transaction that notes its outcome."""
WAIT_S = 4.0
"""Time that an attempt waits for the delivery of another one, which is less than it has itself."""
CLAIMED_AT_ONCE = 50
"""Messages of a batch that are claimed together. That many can be in doubt when a worker is killed."""
_LOOK_EVERY_S = 0.1
_HANDED_OVER = (DeliveryState.SENT, DeliveryState.IN_DOUBT)
_OPEN = (None, DeliveryState.SENDING, DeliveryState.NOT_SENT)
_MESSAGES_METRIC = "notification_messages"
"""Counts the messages of every delivery, by `channel` and `state`. An alert should watch IN_DOUBT."""
_log = logging.getLogger(__name__)


@dataclass
class _Notice:
    """One request on its way through claim and delivery."""

    request: NotifyCustomer
    subject: OrderState
    rows: dict[Channel, DeliveryRecord] = field(default_factory=dict)
    deliveries: dict[Channel, Delivery] = field(default_factory=dict)
    refusal: RefusedDecision | None = None
    is_answered: bool = False
    """The fence answers the request from its records."""
    is_waiting: bool = False
    """Another attempt is sending a message of this transaction."""

    @property
    def is_undo(self) -> bool:
        return self.subject is OrderState.CANCELLED

    def state(self, channel: Channel) -> DeliveryState | None:
        if channel in self.deliveries:
            return self.deliveries[channel].state
        return self.rows[channel].state if channel in self.rows else None

    def is_settled(self, channels: Iterable[Channel]) -> bool:
        """Whether the operation can be performed."""
        if self.is_answered:
            return True
        states = [self.state(channel) for channel in channels]
        if not self.is_undo and states[0] is DeliveryState.REFUSED:
            return True
        if self.is_waiting or any(state in _OPEN for state in states):
            return False
        return self.is_undo or DeliveryState.SENT in states

    def problem(self, channels: Iterable[Channel]) -> str:
        """Why the operation cannot be performed."""
        if self.is_waiting:
            return "another attempt is sending the message"
        states = (self.state(channel) for channel in channels)
        again = "" if any(state in _OPEN for state in states) else "; it is in doubt, and not sent again"
        problems = [delivery.problem for delivery in self.deliveries.values()]
        problems += [row.problem for row in self.rows.values()]
        return next(filter(None, problems), "the message is not sent") + again


class DeliveringService(Service):
    """The notification service with a gateway for each channel that it uses. Must be closed."""

    def __init__(
        self,
        database: Database,
        gateways: Sequence[Gateway],
        *,
        publishes: bool = False,
        meter: MetricMeter = MetricMeter.noop,
    ) -> None:
        """`gateways` is in the order of use; the first decides whether the customer can be told at all."""
        self._channels = tuple(gateway.channel for gateway in gateways)
        self._gateways = {gateway.channel: gateway for gateway in gateways}
        self._under_way: set[asyncio.Task[Any]] = set()
        super().__init__(delivered_by(self._channels), database, publishes=publishes, meter=meter)

    async def close(self) -> None:
        """Wait for the deliveries under way, which are bounded in time, and close the gateways."""
        await asyncio.gather(*self._under_way, return_exceptions=True)
        for gateway in self._gateways.values():
            await gateway.close()

    async def perform(
        self, handler: Handler[RequestT, ReplyT], requests: Sequence[RequestT]
    ) -> list[ReplyT | RefusedDecision]:
        """As `Service.perform`. Raises `ApplicationError` if a message is not settled; the settled ones are done."""
        notices = list[_Notice]()
        give_up = time.monotonic() + WAIT_S
        for start in range(0, len(requests), CLAIMED_AT_ONCE):
            part: Sequence[Any] = requests[start : start + CLAIMED_AT_ONCE]
            if time.monotonic() > give_up:  # the next attempt sends the others
                notices += [_Notice(request, SUBJECTS[handler.operation]) for request in part]
            else:
                notices += await self._sent(handler, part, give_up)
        settled = [each.refusal is None and each.is_settled(self._channels) for each in notices]
        ready = [request for request, is_settled in zip(requests, settled, strict=True) if is_settled]
        answers = iter(await super().perform(handler, ready) if ready else [])
        for notice, is_settled in zip(notices, settled, strict=True):
            if not is_settled and notice.refusal is None:
                raise ApplicationError(notice.problem(self._channels), type=Code.SERVICE_UNAVAILABLE)
        return [notice.refusal or next(answers) for notice in notices]

    async def _sent(self, handler: Handler[Any, Any], requests: Sequence[Any], give_up: float) -> list[_Notice]:
        """Send the messages of `requests`, and wait until `give_up` for those that another attempt is sending."""
        notices = await self._shielded(handler, requests)
        while time.monotonic() < give_up:
            waiting = [at for at, notice in enumerate(notices) if notice.is_waiting]
            if not waiting:
                break
            await asyncio.sleep(_LOOK_EVERY_S)
            again = await self._shielded(handler, [requests[at] for at in waiting])
            for at, notice in zip(waiting, again, strict=True):
                notices[at] = notice
        return notices

    async def _shielded(self, handler: Handler[Any, Any], requests: Sequence[Any]) -> list[_Notice]:
        """Claim, send and note. A caller that is cancelled does not stop it: its outcome would not be known."""
        task = asyncio.create_task(self._claim_send_and_note(handler, requests))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return await asyncio.shield(task)

    async def _claim_send_and_note(self, handler: Handler[Any, Any], requests: Sequence[Any]) -> list[_Notice]:
        until = asyncio.get_running_loop().time() + DELIVERY_S
        notices = await self._optimistic(partial(self._claim, handler=handler, requests=requests))
        deliveries = [delivery for notice in notices for delivery in notice.deliveries.values()]
        if not deliveries:
            return notices
        try:
            async with asyncio.timeout_at(until):
                await self._send(notices)
        except TimeoutError:
            _log.warning("not every message was handed over within %g s", DELIVERY_S)
        finally:
            await self._noted(deliveries)
        return notices

    async def _noted(self, deliveries: Sequence[Delivery]) -> None:
        """Note the outcomes. Try for as long as the claims last: a message without a note may come to be in doubt."""
        until = time.monotonic() + CLAIM_S - DELIVERY_S
        while True:
            try:
                await self._optimistic(partial(self._note, deliveries=deliveries))
                return _count(deliveries)
            except TRANSACTION_ERRORS:
                if time.monotonic() > until:
                    raise
            await asyncio.sleep(_LOOK_EVERY_S)

    # --- claim --------------------------------------------------------------------------------------------------------

    def _claim(self, tx: Connection, handler: Handler[Any, Any], requests: Sequence[Any]) -> list[_Notice]:
        uow = UnitOfWork(self.definition.metadata, datetime.now(UTC))
        operation, records = handler.operation, self.definition.operation_records
        uow.load(tx, OperationCall(handler, requests).touches(records))
        notices = []
        for request in requests:
            notices.append(notice := _Notice(request, SUBJECTS[operation]))
            if would_act(uow, records, operation, request):
                self._claim_messages(uow, notice)
            else:
                notice.is_answered = True
        uow.save(tx)
        return notices

    def _claim_messages(self, uow: UnitOfWork, notice: _Notice) -> None:
        request, wanted = notice.request, digest(notice.request)
        confirmations, cancellations = (
            [row for channel in Channel if (row := uow.get(DeliveryRecord, request.transaction_id, subject, channel))]
            for subject in (OrderState.CONFIRMED, OrderState.CANCELLED)
        )
        if cancellations and not notice.is_undo:
            notice.refusal = RefusedDecision(Code.STEP_UNDONE, "the customer is being told that the order is cancelled")
            return
        if any(_is_claimed(row, uow.now) for row in (*confirmations, *cancellations)):
            notice.is_waiting = True
            return
        found = cancellations if notice.is_undo else confirmations
        ours = [self._after_its_claim(row) for row in found]
        uow.put(row for row in ours if row not in found)
        if any(row.state in _HANDED_OVER and row.digest != wanted for row in ours):
            notice.refusal = RefusedDecision(
                Code.IDEMPOTENCY_CONFLICT, "another request came before under the same key"
            )
            return
        notice.rows = {row.channel: row for row in ours if row.digest == wanted}
        if not notice.is_settled(self._channels):
            self._claim_open_ones(uow, notice, wanted)

    def _claim_open_ones(self, uow: UnitOfWork, notice: _Notice, wanted: str) -> None:
        request, subject = notice.request, notice.subject
        for channel in self._channels:
            if notice.state(channel) not in _OPEN:
                continue
            row = uow.get(DeliveryRecord, request.transaction_id, subject, channel)
            claim = DeliveryRecord(
                request.transaction_id,
                subject,
                channel,
                address_of(request, channel),
                DeliveryState.SENDING,
                wanted,
                uow.now + timedelta(seconds=CLAIM_S),
                version=row.version if row is not None else 0,
            )
            uow.put([claim])
            notice.deliveries[channel] = Delivery(claim, request)

    def _after_its_claim(self, row: DeliveryRecord) -> DeliveryRecord:
        """The row of an attempt that ended without a note: the message may have been handed over."""
        if row.state is not DeliveryState.SENDING:
            return row
        gateway = self._gateways.get(row.channel)
        if gateway is not None and gateway.drops_repeats:
            return replace(row, state=DeliveryState.NOT_SENT)
        _log.error("message in doubt: %s about %s of %s", row.channel, row.subject, row.transaction_id)
        return replace(row, state=DeliveryState.IN_DOUBT, problem="the worker ended while it sent the message")

    # --- send and note ------------------------------------------------------------------------------------------------

    async def _send(self, notices: Sequence[_Notice]) -> None:
        """Hand the messages over: a cancellation's at once, a confirmation's one channel after the other."""
        if any(notice.is_undo for notice in notices):
            async with asyncio.TaskGroup() as group:
                for channel in self._channels:
                    group.create_task(self._deliver(channel, notices))
            return
        for place, channel in enumerate(self._channels):
            before = self._channels[:place]
            await self._deliver(
                channel, [each for each in notices if all(each.state(earlier) in _HANDED_OVER for earlier in before)]
            )

    async def _deliver(self, channel: Channel, notices: Sequence[_Notice]) -> None:
        deliveries = [notice.deliveries[channel] for notice in notices if channel in notice.deliveries]
        if deliveries:
            await self._gateways[channel].deliver(deliveries)

    def _note(self, tx: Connection, deliveries: Sequence[Delivery]) -> None:
        uow = UnitOfWork(self.definition.metadata, datetime.now(UTC))
        uow.load(tx, (Ref(DeliveryRecord, delivery.claim.key) for delivery in deliveries))
        for delivery in deliveries:
            claim, state = delivery.claim, delivery.state
            found = uow.get(DeliveryRecord, *claim.key)
            # Another attempt may have taken an ended claim for one in doubt, or claimed the message anew.
            if found is not None and (found.claimed_until == claim.claimed_until or state is DeliveryState.SENT):
                uow.put([replace(found, state=state, problem=delivery.problem)])
            if state is DeliveryState.IN_DOUBT:
                _log.error("message in doubt: %s: %s", delivery.key, delivery.problem)
        uow.save(tx)


def _count(deliveries: Sequence[Delivery]) -> None:
    if not activity.in_activity():
        return
    counter = activity.metric_meter().create_counter(_MESSAGES_METRIC, "Messages that a gateway was to take.")
    for (channel, state), count in Counter((each.claim.channel, each.state) for each in deliveries).items():
        counter.add(count, {"channel": channel, "state": state})


def _is_claimed(row: DeliveryRecord, now: datetime) -> bool:
    return row.state is DeliveryState.SENDING and row.claimed_until > now
