"""Announcements: that a saga is parked, goes on or has ended, told to an operation of a service, in their order.

An announcement is made at least once, and the saga's workflow does not end before. It holds up nothing else: calls and
undos go on beside it. One that fails is made again in rounds, for as long as it takes; it is in no log, is never parked
and no operator decides about it.
"""

import asyncio
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from temporalio import workflow

from temporal_saga.calls import attempt
from temporal_saga.journal import State, Status, TransactionLog
from temporal_saga.operation import Operation
from temporal_saga.outcome import Done
from temporal_saga.policy import POLICIES, Policies

_AT_ONCE = 500
"""Announcements of one call: those of a whole batch, each of 300 bytes, are a tenth of Temporal's payload limit."""


class AnnouncementKind(StrEnum):
    """PARKED: a call that must succeed fails. RECOVERED: none does any more. ENDED: the saga has its last state."""

    PARKED = "parked"
    RECOVERED = "recovered"
    ENDED = "ended"


@dataclass(frozen=True)
class ParkedStep:
    """A step that is parked, its service, and the code with which it failed."""

    step: str
    service: str
    error_code: str | None = None


@dataclass(frozen=True)
class Announcement:
    """One change of a saga's state. `key` is the run of the workflow and a number that grows within it: with the
    transaction, it is the same however often the announcement is made. `at` is UTC.

    `error_code` is that of a saga that is rolled back. `parked` has the steps of a saga that is parked.
    """

    transaction_id: str
    kind: AnnouncementKind
    key: str
    state: State
    at: datetime
    error_code: str | None = None
    parked: tuple[ParkedStep, ...] = ()


@dataclass(frozen=True)
class Announcements:
    """The request of the operation that a saga announces to. The reply is not read."""

    announcements: tuple[Announcement, ...]


class Announcer:
    """The announcements of one workflow, made one after the other by a task of its own."""

    def __init__(self, operation: Operation[Any, Any], policies: Policies = POLICIES) -> None:
        self._operation = operation
        self._policies = policies
        self._waiting: list[Announcement] = []
        self._number = 0
        self._task: asyncio.Task[None] | None = None

    def changed(self, before: State, log: TransactionLog) -> None:
        """Announce that a saga, which was in the state `before`, has the log `log` now; not every change is told."""
        if log.state is State.PARKED:
            self._add(AnnouncementKind.PARKED, log)
        elif before is State.PARKED:
            self._add(AnnouncementKind.RECOVERED, log)
        if log.state.is_end:
            self._add(AnnouncementKind.ENDED, log)

    async def done(self) -> None:
        """Return when every announcement has been made."""
        if self._task is not None:
            await self._task

    def _add(self, kind: AnnouncementKind, log: TransactionLog) -> None:
        self._number += 1
        key = f"{workflow.info().run_id}-{self._number}"  # a run that takes over counts from 1 again
        code = log.error.code if log.error else None
        parked = tuple(
            ParkedStep(entry.step, entry.service, entry.error_code)
            for entry in log.steps
            if entry.status is Status.PARKED
        )
        self._waiting.append(Announcement(log.transaction_id, kind, key, log.state, workflow.now(), code, parked))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._make_all())

    async def _make_all(self) -> None:
        failed = 0
        while self._waiting:
            told = tuple(self._waiting[:_AT_ONCE])
            ended = await attempt(self._operation, Announcements(told), self._policies.finish, "announcement")
            if isinstance(ended, Done):
                del self._waiting[: len(told)]
                failed = 0
                continue
            failed += 1
            waits = "%s: announcements wait: %s: %s"
            workflow.logger.warning(waits, told[0].transaction_id, ended.code, ended.message)
            await workflow.sleep(self._policies.rounds.pause(failed), summary=f"announcement: {ended.code}")
