"""An operation from request to commit: read, pass the fence, decide and write, in one local transaction.

A service is its definition (`activities.definition`) at work on its own database.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple, TypeVar, cast

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Connection
from temporalio import activity
from temporalio.common import MetricMeter, RawValue
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from activities import outbox
from activities.database import TRANSACTION_ERRORS, Database, is_about_the_database, is_write_conflict, reason_of
from activities.definition import Handler, Query, ServiceDefinition
from activities.fence import OperationRecord, RefusedDecision, UnreadableReply, apply_once, record_of_retired
from activities.group_commit import GroupCommit
from activities.outbox import OutboxRow
from activities.records import Ref, Stale, UnitOfWork
from contracts.batch_operation import SUFFIX, BatchReply, BatchRequest, RefusedRequest, batched
from contracts.documents import parse_each
from contracts.errors import Code
from contracts.message import Reply, Request
from contracts.problems import first_problem
from temporal_saga import Operation

RequestT = TypeVar("RequestT", bound=Request)
ReplyT = TypeVar("ReplyT", bound=Reply)
OutcomeT = TypeVar("OutcomeT")

_ANSWERS_METRIC = "fence_answers_total"
"""Counts the answers of the fence by `operation`, `answer` (acted, repeated, refused, tombstone) and `code`."""
OPTIMISTIC_ATTEMPTS = 20
"""Times a local transaction is read and decided again after a conflict with another writer. At least one contender
commits in each round; a loser of twenty rounds (about a second) goes back to Temporal's retries."""

OPTIMISTIC_S = 2
"""The same bound as a time, for a slow database: other requests wait for this group, and their attempts have 5 s."""
_ANY_BATCH: TypeAdapter[BatchRequest[Any]] = TypeAdapter(BatchRequest[Any])


class OperationCall(NamedTuple):
    """One call of an operation with one or more requests."""

    handler: Handler[Any, Any]
    requests: Sequence[Request]

    def touches(self, operation_records: type[OperationRecord]) -> Iterator[Ref]:
        """The rows that the call needs, those of the fence included."""
        operation = self.handler.operation
        for request in self.requests:
            yield Ref(operation_records, (request.transaction_id, operation.step))
            yield Ref(operation_records, record_of_retired(request.transaction_id))
            if operation.acts_on is not None:
                yield Ref(operation_records, (request.transaction_id, operation.acts_on.step))
            yield from self.handler.touches(request)


class Service:
    """A service at work on its own database. A request goes this way:

    1. an activity checks its form (`activities`);
    2. calls of the same moment form a group (`perform`);
    3. the group has a transaction, and another one after a conflict (`_commit_group`, `_optimistic`);
    4. the transaction reads the rows and writes what was decided (`_decide_and_write`);
    5. the fence lets the handler decide, or repeats its answer (`_decide`).
    """

    def __init__(
        self,
        definition: ServiceDefinition,
        database: Database,
        *,
        publishes: bool = False,
        meter: MetricMeter = MetricMeter.noop,
    ) -> None:
        """`publishes`: what takes effect is written into the outbox too. `meter` counts the answers of the fence."""
        self.definition = definition
        self._answers = meter.create_counter(_ANSWERS_METRIC, "Answers of the fence of a service.")
        self._database = database
        self._publishes = publishes
        self._group: GroupCommit[OperationCall, list[Reply | RefusedDecision]] = GroupCommit(
            self._commit_group, is_shared=is_about_the_database
        )

    async def execute(self, operation: Operation[Any, Any], request: Any) -> Any:
        """The reply to one request or query from within this process, without Temporal. Raises `RefusedDecision`."""
        if queries := [query for query in self.definition.queries if query.operation is operation]:
            return await self._database.transaction(lambda tx: queries[0].read(tx, request))
        [handler] = [handler for handler in self.definition.handlers if handler.operation is operation]
        [answer] = await self.perform(handler, [request])
        if isinstance(answer, RefusedDecision):
            raise answer
        return answer

    async def waiting_events(self, limit: int) -> list[OutboxRow]:
        """The events that the world outside does not have yet, the oldest first."""
        table = self.definition.metadata.tables["outbox"]
        return await self._database.transaction(lambda tx: outbox.oldest(tx, table, limit))

    async def remove_events(self, ids: Sequence[int]) -> None:
        table = self.definition.metadata.tables["outbox"]
        await self._database.transaction(lambda tx: outbox.remove(tx, table, ids))

    async def perform(
        self, handler: Handler[RequestT, ReplyT], requests: Sequence[RequestT]
    ) -> list[ReplyT | RefusedDecision]:
        """Perform one operation for many requests in one local transaction; a refusal affects only its own request.

        Other calls of the same moment may share the transaction. Raises `Stale` if every try met a conflicting write.
        """
        return cast("list[ReplyT | RefusedDecision]", await self._group.submit(OperationCall(handler, requests)))

    async def _commit_group(self, group: Sequence[OperationCall]) -> list[list[Reply | RefusedDecision]]:
        answers, counts = await self._optimistic(lambda tx: self._decide_and_write(tx, group))
        for (operation, answer, code), count in counts.items():
            self._answers.add(count, {"operation": operation, "answer": answer, "code": code})
        return answers

    async def _optimistic(self, work: Callable[[Connection], OutcomeT]) -> OutcomeT:
        """Do `work` in one local transaction, and again for as long as another writer was faster. Raises `Stale`."""
        attempt, began = 0, time.monotonic()
        while True:
            attempt += 1
            try:
                return await self._database.transaction(work)
            except TRANSACTION_ERRORS as error:
                if not is_write_conflict(error):
                    raise
                if attempt == OPTIMISTIC_ATTEMPTS or time.monotonic() - began > OPTIMISTIC_S:
                    raise Stale(f"another transaction was faster {attempt} times") from error
                # Full jitter, growing to about 100 ms: contenders must not retry in step.
                await asyncio.sleep(random.uniform(0, min(0.1, 0.002 * 2**attempt)))  # noqa: S311 — not a secret

    def _decide_and_write(
        self, tx: Connection, group: Sequence[OperationCall]
    ) -> tuple[list[list[Reply | RefusedDecision]], Counter[tuple[str, str, str]]]:
        """The answers, and how many of each kind there are."""
        uow = UnitOfWork(self.definition.metadata, datetime.now(UTC), publishes=self._publishes)
        uow.load(tx, (ref for call in group for ref in call.touches(self.definition.operation_records)))
        answers = [[self._decide(uow, call.handler, request) for request in call.requests] for call in group]
        uow.save(tx)
        return answers, uow.answers

    def _decide(self, uow: UnitOfWork, handler: Handler[Any, Any], request: Request) -> Reply | RefusedDecision:
        decide = partial(handler.decide, uow, request)
        try:
            reply: Reply = apply_once(uow, self.definition.operation_records, handler.operation, request, decide)
        except RefusedDecision as refusal:
            return refusal
        return reply

    def activities(self) -> list[Callable[..., Any]]:
        """The activities that a worker serves on this service's task queue."""
        handlers, queries = self.definition.handlers, self.definition.queries
        served = [*map(self._activity, handlers), *map(self._query_activity, queries)]
        return [*served, *map(self._batch_activity, handlers)]

    def _activity(self, handler: Handler[Any, Any]) -> Callable[..., Any]:
        @activity.defn(name=handler.operation.name)
        async def serve(document: Any) -> Any:
            request = _valid(handler.operation, document)
            with self._database_errors():
                [answer] = await self.perform(handler, [request])
            if isinstance(answer, RefusedDecision):
                raise _refused(answer)
            return answer.model_copy(update={"attempt": activity.info().attempt})

        return serve

    def _batch_activity(self, handler: Handler[Any, Any]) -> Callable[..., Any]:
        declared = batched(handler.operation)
        batch_type = TypeAdapter(declared.request)

        @activity.defn(name=declared.name)
        async def serve(document: RawValue) -> BatchReply:
            requests, refused = _valid_many(handler.operation, batch_type, document.payload.data)
            count = len(requests) + len(refused)
            with self._database_errors():
                answers = await self.perform(handler, list(requests.values()))
            refused |= {at: no for at, no in zip(requests, answers, strict=True) if isinstance(no, RefusedDecision)}
            return BatchReply(
                attempt=activity.info().attempt,
                count=count,
                refused=tuple(RefusedRequest(index=at, code=no.code, message=no.message) for at, no in refused.items()),
            )

        return serve

    def _query_activity(self, query: Query[Any, Any]) -> Callable[..., Any]:
        @activity.defn(name=query.operation.name)
        async def serve(document: Any) -> Any:
            question = _valid(query.operation, document)
            with self._database_errors():
                return await self._database.transaction(lambda tx: query.read(tx, question))

        return serve

    @contextmanager
    def _database_errors(self) -> Iterator[None]:
        """Turn an error of the database into one that Temporal retries: the outcome is unknown, not a refusal.

        The exception itself, with statement and data, is dropped.
        """
        try:
            yield
        except UnreadableReply as error:  # the build of another worker may read it
            raise ApplicationError(str(error), type=Code.UNREADABLE_REPLY) from None
        except TRANSACTION_ERRORS as error:
            message = f"{self.definition.name} database: {reason_of(error)}"
            raise ApplicationError(message, type=Code.SERVICE_UNAVAILABLE) from None


def _valid(operation: Operation[Any, Any], document: Any) -> Any:
    try:
        return operation.request.model_validate(document)
    except ValidationError as error:
        raise _refused(RefusedDecision(Code.INVALID_REQUEST, f"{operation.name}: {first_problem(error)}")) from None


def _valid_many(
    operation: Operation[Any, Any], batch_type: TypeAdapter[BatchRequest[Any]], document: bytes
) -> tuple[dict[int, Any], dict[int, RefusedDecision]]:
    """The valid requests of a batch and the refusals of the others, by their place in it."""
    try:
        valid, invalid = parse_each(
            operation.request,
            document,
            lambda text: batch_type.validate_json(text).requests,
            lambda text: _ANY_BATCH.validate_json(text).requests,
        )
    except ValidationError as error:  # not a batch, or too long a one
        message = f"{operation.name}{SUFFIX}: {first_problem(error)}"
        raise _refused(RefusedDecision(Code.INVALID_REQUEST, message)) from None
    code, name = Code.INVALID_REQUEST, operation.name
    return valid, {place: RefusedDecision(code, f"{name}: {one.problem}") for place, one in invalid.items()}


def _refused(refusal: RefusedDecision) -> ApplicationError:
    """An error that Temporal must not retry. It carries the number of the attempt, for the saga's log.

    A refusal is a business answer, so no metric of failures counts it; a request that has the wrong form is a bug.
    """
    bug = refusal.code == Code.INVALID_REQUEST
    category = ApplicationErrorCategory.UNSPECIFIED if bug else ApplicationErrorCategory.BENIGN
    attempt = activity.info().attempt
    return ApplicationError(refusal.message, attempt, type=refusal.code, non_retryable=True, category=category)
