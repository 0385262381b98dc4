"""An operation from request to commit: read, pass the fence, decide, write, in one local transaction.

A service is a list of `Handler`s over its own database. Each is set-based: it takes a list of requests, reads the rows
of all of them at once, decides them one after the other in memory, writes all at once and commits once. The activity
of a single request is a list of one.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from typing import Any, Generic, NamedTuple, TypeVar, cast

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Connection, MetaData, select
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from temporalio import activity
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError

from activities.database import Database
from activities.fence import Decision, Passage, Refusal, UnreadableAnswer, admit
from activities.group_commit import GroupCommit
from activities.records import Record, Ref, Rows, Stale
from contracts.batch_operation import SUFFIX, BatchReply, BatchRequest, RefusedRequest, batched
from contracts.documents import parse_each
from contracts.errors import Code
from contracts.message import ListOpen, Message, OpenTransactions, Reply, Request, Unreadable
from contracts.problems import first_problem
from saga import Operation

Asked = TypeVar("Asked", bound=Request)
Question = TypeVar("Question", bound=Message)
Answer = TypeVar("Answer", bound=Reply)
Row = TypeVar("Row")
Read = TypeVar("Read")

OPTIMISTIC_ATTEMPTS = 20
"""Times a transaction is read and decided again when another was faster. At each round at least one contender gets
through; what loses twenty times (about a second) goes back to Temporal's retries instead of spinning here."""

OPTIMISTIC_S = 2
"""The same as a time, for a slow database: other requests wait for this group, and their attempts have five seconds."""
_ANY_BATCH: TypeAdapter[BatchRequest[Any]] = TypeAdapter(BatchRequest[Any])
SERIALIZATION_FAILURE = "40001"
"""PostgreSQL's code for a row that changed since our snapshot."""
_OF_THE_SERVER = {"08", "25", "53", "55", "57", "58"}
"""PostgreSQL's classes of codes for what is lost, abandoned, full, locked, shut down or broken."""


@dataclass(frozen=True)
class Handler(Generic[Asked, Answer]):
    """How a service performs an operation: `touches` names the rows it needs, `decide` is a pure function of
    them, the request and the instant of the transaction."""

    operation: Operation[Asked, Answer]
    touches: Callable[[Asked], Iterable[Ref]]
    decide: Callable[[Rows, Asked], Decision[Answer]]


def implements(
    operation: Operation[Asked, Answer], *, touches: Callable[[Asked], Iterable[Ref]]
) -> Callable[[Callable[[Rows, Asked], Decision[Answer]]], Handler[Asked, Answer]]:
    """Decorator: this decision is how the service performs `operation`. mypy holds it to the declared types."""

    def bind(decide: Callable[[Rows, Asked], Decision[Answer]]) -> Handler[Asked, Answer]:
        return Handler(operation, touches, decide)

    return bind


@dataclass(frozen=True)
class Query(Generic[Question, Answer]):
    """A question that changes nothing, or a note that changes nothing when it comes again, and so needs no fence."""

    operation: Operation[Question, Answer]
    read: Callable[[Connection, Question], Answer]


def lists_open(
    operation: Operation[ListOpen, OpenTransactions], kind: type[Record], *states: StrEnum
) -> Query[ListOpen, OpenTransactions]:
    """The question which transactions have a row of `kind` in one of `states`."""
    column = kind.table.c

    def read(connection: Connection, question: ListOpen) -> OpenTransactions:
        still_open = column.state.in_(states) & (column.transaction_id > question.after)
        ids = select(column.transaction_id).where(still_open).distinct().order_by(column.transaction_id)
        found = connection.scalars(ids.limit(question.limit))
        return OpenTransactions(transaction_ids=tuple(found))

    return Query(operation, read)


def readable(
    rows: Iterable[Row], transaction_of: Callable[[Row], str], read: Callable[[Row], Read]
) -> tuple[tuple[Read, ...], tuple[Unreadable, ...]]:
    """What `read` makes of `rows`, and those that it cannot read: an earlier version may have written what this one
    would refuse, and the others must be answered all the same."""
    found, unreadable = list[Read](), list[Unreadable]()
    for row in rows:
        try:
            found.append(read(row))
        except ValidationError as error:
            unreadable.append(Unreadable(transaction_id=transaction_of(row), problem=first_problem(error)))
    return tuple(found), tuple(unreadable)


@dataclass(frozen=True)
class ServiceDefinition:
    """What a service is, apart from where its database lies."""

    name: str
    metadata: MetaData
    passages: type[Passage]
    handlers: Sequence[Handler[Any, Any]]
    queries: Sequence[Query[Any, Any]] = ()


class _Asking(NamedTuple):
    """One operation, asked for one or more times at once."""

    handler: Handler[Any, Any]
    requests: Sequence[Request]

    def touches(self, passages: type[Passage]) -> Iterator[Ref]:
        """The rows it needs, those of the fence included."""
        operation = self.handler.operation
        for request in self.requests:
            yield Ref(passages, (request.transaction_id, operation.step))
            if operation.acts_on is not None:
                yield Ref(passages, (request.transaction_id, operation.acts_on.step))
            yield from self.handler.touches(request)


class Service:
    """A service at work on its own database."""

    def __init__(self, definition: ServiceDefinition, database: Database) -> None:
        self.definition = definition
        self._database = database
        self._group: GroupCommit[_Asking, list[Reply | Refusal]] = GroupCommit(
            self._perform_group, is_shared=_is_about_the_database
        )

    async def perform(self, handler: Handler[Asked, Answer], requests: Sequence[Asked]) -> list[Answer | Refusal]:
        """Perform one operation for many requests in one local transaction; one refusal leaves the others alone.

        It may be shared with whatever else this service is asked at that moment. Raises `Stale` when other writers were
        faster every time.
        """
        return cast("list[Answer | Refusal]", await self._group.submit(_Asking(handler, requests)))

    async def execute(self, operation: Operation[Any, Any], request: Any) -> Any:
        """The reply to a single request or question of this process itself, without Temporal. Raises `Refusal`."""
        if questions := [query for query in self.definition.queries if query.operation is operation]:
            return await self._database.transaction(lambda tx: questions[0].read(tx, request))
        [handler] = [handler for handler in self.definition.handlers if handler.operation is operation]
        [answer] = await self.perform(handler, [request])
        if isinstance(answer, Refusal):
            raise answer
        return answer

    async def _perform_group(self, group: Sequence[_Asking]) -> list[list[Reply | Refusal]]:
        attempt, began = 0, time.monotonic()
        while True:
            attempt += 1
            try:
                return await self._database.transaction(lambda tx: self._perform_once(tx, group))
            except (Stale, DBAPIError) as error:
                if not _another_was_faster(error):
                    raise
                if attempt == OPTIMISTIC_ATTEMPTS or time.monotonic() - began > OPTIMISTIC_S:
                    raise Stale(f"another was faster {attempt} times") from error
                # Full jitter, growing to about 100 ms: contenders must not meet again in step.
                await asyncio.sleep(random.uniform(0, min(0.1, 0.002 * 2**attempt)))  # noqa: S311 — not a secret

    def _perform_once(self, tx: Connection, group: Sequence[_Asking]) -> list[list[Reply | Refusal]]:
        rows = Rows(self.definition.metadata, datetime.now(UTC))
        rows.load(tx, (ref for asking in group for ref in asking.touches(self.definition.passages)))
        answers = [[self._decide(rows, asking.handler, request) for request in asking.requests] for asking in group]
        rows.save(tx)
        return answers

    def _decide(self, rows: Rows, handler: Handler[Any, Any], request: Request) -> Reply | Refusal:
        decide = partial(handler.decide, rows, request)
        try:
            return cast("Reply", admit(rows, self.definition.passages, handler.operation, request, decide))
        except Refusal as refusal:
            return refusal

    def activities(self) -> list[Callable[..., Any]]:
        """What a worker serves on this service's task queue."""
        handlers, queries = self.definition.handlers, self.definition.queries
        served = [*map(self._activity, handlers), *map(self._query_activity, queries)]
        return [*served, *map(self._many_activity, handlers)]

    def _activity(self, handler: Handler[Any, Any]) -> Callable[..., Any]:
        @activity.defn(name=handler.operation.name)
        async def perform(document: Any) -> Any:
            request = _valid(handler.operation, document)
            try:
                [answer] = await self.perform(handler, [request])
            except (DBAPIError, PoolTimeout, OSError, Stale, UnreadableAnswer) as error:
                raise self._unavailable(error) from None
            if isinstance(answer, Refusal):
                raise _refused(answer)
            return answer.model_copy(update={"attempt": activity.info().attempt})

        return perform

    def _many_activity(self, handler: Handler[Any, Any]) -> Callable[..., Any]:
        declared = batched(handler.operation)
        asked = TypeAdapter(declared.request)

        @activity.defn(name=declared.name)
        async def perform(document: RawValue) -> BatchReply:
            requests, refused = _valid_many(handler.operation, asked, document.payload.data)
            count = len(requests) + len(refused)
            try:
                answers = await self.perform(handler, list(requests.values()))
            except (DBAPIError, PoolTimeout, OSError, Stale, UnreadableAnswer) as error:
                raise self._unavailable(error) from None
            refused |= {at: no for at, no in zip(requests, answers, strict=True) if isinstance(no, Refusal)}
            return BatchReply(
                attempt=activity.info().attempt,
                count=count,
                refused=tuple(RefusedRequest(index=at, code=no.code, message=no.message) for at, no in refused.items()),
            )

        return perform

    def _query_activity(self, query: Query[Any, Any]) -> Callable[..., Any]:
        @activity.defn(name=query.operation.name)
        async def perform(document: Any) -> Any:
            question = _valid(query.operation, document)
            try:
                return await self._database.transaction(lambda tx: query.read(tx, question))
            except (DBAPIError, PoolTimeout, OSError) as error:
                raise self._unavailable(error) from None

        return perform

    def _unavailable(self, error: Exception) -> ApplicationError:
        """The database's own words, on one line. Its exception, with statement and data, goes no further.

        To be tried again: no of these says no. An answer that this build cannot read another one may.
        """
        if isinstance(error, UnreadableAnswer):
            return ApplicationError(str(error), type=Code.UNREADABLE_REPLY)
        cause = error.orig if isinstance(error, DBAPIError) else error
        words = str(cause) or type(cause).__name__
        message = f"{self.definition.name} database: {words.splitlines()[0]}"
        return ApplicationError(message, type=Code.SERVICE_UNAVAILABLE)


def _another_was_faster(error: Stale | DBAPIError) -> bool:
    """Whether another transaction wrote what this one has read: our version check says so, or PostgreSQL itself."""
    return isinstance(error, Stale) or getattr(error.orig, "sqlstate", None) == SERIALIZATION_FAILURE


def _is_about_the_database(error: Exception) -> bool:
    """Locked, full, unreachable, too contended: whoever shared the transaction would meet the same alone."""
    if isinstance(error, DBAPIError) and str(getattr(error.orig, "sqlstate", None) or "")[:2] in _OF_THE_SERVER:
        return True
    return isinstance(error, (OperationalError, InterfaceError, PoolTimeout, OSError, Stale))


def _valid(operation: Operation[Any, Any], document: Any) -> Any:
    try:
        return operation.request.model_validate(document)
    except ValidationError as error:
        raise _refused(Refusal(Code.INVALID_REQUEST, f"{operation.name}: {first_problem(error)}")) from None


def _valid_many(
    operation: Operation[Any, Any], asked: TypeAdapter[BatchRequest[Any]], document: bytes
) -> tuple[dict[int, Any], dict[int, Refusal]]:
    """The valid requests of a batch and the refusals of the others, by their place in it."""
    try:
        valid, invalid = parse_each(
            operation.request,
            document,
            lambda text: asked.validate_json(text).requests,
            lambda text: _ANY_BATCH.validate_json(text).requests,
        )
    except ValidationError as error:  # not a batch, or too long a one
        message = f"{operation.name}{SUFFIX}: {first_problem(error)}"
        raise _refused(Refusal(Code.INVALID_REQUEST, message)) from None
    code, name = Code.INVALID_REQUEST, operation.name
    return valid, {place: Refusal(code, f"{name}: {one.problem}") for place, one in invalid.items()}


def _refused(refusal: Refusal) -> ApplicationError:
    """A no that Temporal must not retry. The attempt that heard it travels along, for the saga's log."""
    return ApplicationError(refusal.message, activity.info().attempt, type=refusal.code, non_retryable=True)
