"""A service without its database: its tables, how it performs each operation, and how its rows go away.

A handler is set-based: it takes a list of requests. `activities.service` reads the rows of all of them at once, has it
decide one after the other in memory, writes all changes at once and commits once. The activity of a single request
hands it a list of one.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Generic, TypeVar

from pydantic import ValidationError
from sqlalchemy import Connection, MetaData, select

from activities.fence import Decision, OperationRecord
from activities.records import Record, Ref, UnitOfWork
from contracts.erasure import EraseCustomer
from contracts.message import ListOpen, Message, OpenTransactions, Reply, Request, Unreadable
from contracts.problems import first_problem
from temporal_saga import Operation

RequestT = TypeVar("RequestT", bound=Request)
QuestionT = TypeVar("QuestionT", bound=Message)
ReplyT = TypeVar("ReplyT", bound=Reply)
RowT = TypeVar("RowT")
ItemT = TypeVar("ItemT")


@dataclass(frozen=True)
class Handler(Generic[RequestT, ReplyT]):
    """How a service performs an operation."""

    operation: Operation[RequestT, ReplyT]
    touches: Callable[[RequestT], Iterable[Ref]]
    """Names the rows that the decision needs."""
    decide: Callable[[UnitOfWork, RequestT], Decision[ReplyT]]
    """A pure function of those rows, the request and the instant of the transaction. It may raise `StillWorking`: then
    nothing is written, and the saga asks again. A batch waits for the slowest of its requests."""


def implements(
    operation: Operation[RequestT, ReplyT], *, touches: Callable[[RequestT], Iterable[Ref]]
) -> Callable[[Callable[[UnitOfWork, RequestT], Decision[ReplyT]]], Handler[RequestT, ReplyT]]:
    """Decorator of the decision with which the service performs `operation`; mypy checks it against the contract."""

    def bind(decide: Callable[[UnitOfWork, RequestT], Decision[ReplyT]]) -> Handler[RequestT, ReplyT]:
        return Handler(operation, touches, decide)

    return bind


@dataclass(frozen=True)
class Query(Generic[QuestionT, ReplyT]):
    """A request that changes nothing, or nothing when it is repeated, and so needs no fence."""

    operation: Operation[QuestionT, ReplyT]
    read: Callable[[Connection, QuestionT], ReplyT]


def lists_open(
    operation: Operation[ListOpen, OpenTransactions], kind: type[Record], *states: StrEnum
) -> Query[ListOpen, OpenTransactions]:
    """A query for the transactions that have a row of `kind` in one of `states`."""
    column = kind.table.c

    def read(connection: Connection, question: ListOpen) -> OpenTransactions:
        still_open = column.state.in_(states) & (column.transaction_id > question.after)
        ids = select(column.transaction_id).where(still_open).distinct().order_by(column.transaction_id)
        found = connection.scalars(ids.limit(question.limit))
        return OpenTransactions(transaction_ids=tuple(found))

    return Query(operation, read)


def readable(
    rows: Iterable[RowT], transaction_of: Callable[[RowT], str], read: Callable[[RowT], ItemT]
) -> tuple[tuple[ItemT, ...], tuple[Unreadable, ...]]:
    """Read `rows`, and list those that cannot be read beside the others.

    An earlier build may have written a row that this one refuses; that row must not hide the rest.
    """
    found, unreadable = list[ItemT](), list[Unreadable]()
    for row in rows:
        try:
            found.append(read(row))
        except ValidationError as error:
            unreadable.append(Unreadable(transaction_id=transaction_of(row), problem=first_problem(error)))
    return tuple(found), tuple(unreadable)


@dataclass(frozen=True)
class Leaves:
    """The rows that an order leaves at a service. Their `kind` has the columns `transaction_id` and `state`."""

    kind: type[Record]
    confirmed: frozenset[StrEnum]
    """The states of the rows of a confirmed order."""
    cancelled: frozenset[StrEnum]
    """The states that the rows of a cancelled order may have; most such orders have no row."""
    joined_later: bool = True
    """Whether there were orders before this service joined the process: these need not be known here."""


@dataclass(frozen=True)
class ServiceDefinition:
    """A service without its database: name, tables, operations and queries, and how its rows go away."""

    name: str
    metadata: MetaData
    operation_records: type[OperationRecord]
    handlers: Sequence[Handler[Any, Any]]
    queries: Sequence[Query[Any, Any]] = ()
    holds: Mapping[type[Record], frozenset[StrEnum]] = field(default_factory=dict)
    """The states of rows that hold something: their transactions are not retired."""
    leaves: Leaves | None = None
    """What an order leaves here; `None` if the audit does not look at it."""
    carry: Callable[[Connection, Sequence[str]], None] = lambda _, __: None
    """Adds what the rows of these transactions explain to a sum that is carried forward; then the rows are deleted."""
    personal: Mapping[type[Record], Sequence[str]] = field(default_factory=dict)
    """The columns with personal data, beside those that `erase` knows."""
    erase: Callable[[Connection, EraseCustomer], int] = lambda _, __: 0
    """Replaces personal data within documents, and returns the number of rows."""
