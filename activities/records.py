"""Rows as frozen dataclasses, and the unit of work that loads them by key and saves them under a version check.

The version check is optimistic concurrency control, the same for every row of every service: a row is written only if
no other transaction has written it since it was read. No lock outlives a statement, so nothing can deadlock.
"""

import dataclasses
import typing
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache
from operator import attrgetter
from typing import Any, ClassVar, NamedTuple, TypeVar

from sqlalchemy import (
    ARRAY,
    JSON,
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    DateTime,
    Enum,
    Insert,
    Integer,
    MetaData,
    Select,
    Table,
    Text,
    TypeDecorator,
    any_,
    bindparam,
    func,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite

from activities.prepared import read, write


class UtcDateTime(TypeDecorator[datetime]):
    """A time that is aware and UTC on both databases; SQLite alone would lose the zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_result_value(self, value: datetime | None, dialect: object) -> datetime | None:  # noqa: ARG002 — SQLAlchemy's signature
        return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value


Key = tuple[Any, ...]


@dataclasses.dataclass(frozen=True)
class Record:
    """A row. Subclasses are frozen dataclasses declared with `@record`."""

    table: ClassVar[Table]
    key_columns: ClassVar[tuple[str, ...]]
    columns: ClassVar[tuple[str, ...]]
    """The names of the columns, in the order of the table."""
    _key_of: ClassVar[Callable[[Any], Key]]
    version: int = dataclasses.field(default=0, kw_only=True)
    """The number of times that the row was written."""

    @property
    def key(self) -> tuple[Any, ...]:
        return type(self)._key_of(self)


R = TypeVar("R", bound=Record)


class Ref(NamedTuple):
    """A row by its primary key."""

    kind: type[Record]
    key: Key


class Stale(Exception):
    """Another transaction wrote a row after this one had read it: read and decide again."""


def record(
    metadata: MetaData, name: str, *, key: Sequence[str], indexed: Sequence[str] = ()
) -> Callable[[type[R]], type[R]]:
    """Class decorator that declares the table of a `Record` from its fields, with an index on those in `indexed`."""

    def declare(cls: type[R]) -> type[R]:
        hints = typing.get_type_hints(cls)
        columns = [
            Column(
                field.name,
                _column_type(hints[field.name]),
                primary_key=field.name in key,
                index=field.name in indexed or None,
                nullable=_optional(hints[field.name]),
            )
            for field in dataclasses.fields(cls)
        ]
        cls.table = Table(name, metadata, *columns)
        cls.key_columns, cls.columns = tuple(key), tuple(column.name for column in columns)
        cls._key_of = _key_getter(*key)
        return cls

    return declare


def _key_getter(first: str, *others: str) -> Callable[[Any], Key]:
    get = attrgetter(first, *others)
    return get if others else lambda row: (get(row),)


def _optional(hint: Any) -> bool:
    return type(None) in typing.get_args(hint)


def _column_type(hint: Any) -> Any:
    if _optional(hint):
        hint = next(arg for arg in typing.get_args(hint) if arg is not type(None))
    if issubclass(hint, StrEnum):
        return Enum(
            hint,
            native_enum=False,
            create_constraint=False,
            length=32,
            values_callable=lambda names: [name.value for name in names],
        )
    return {str: Text(), int: BigInteger(), datetime: UtcDateTime()}[hint]


def effects_table(metadata: MetaData) -> Table:
    """An append-only table with a row for each effect of an operation, by which the audit sees that none took effect
    twice. It has no key on the operation: that would hide the second effect."""
    return Table(
        "effects",
        metadata,
        Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
        Column("transaction_id", Text, nullable=False, index=True),
        Column("operation", Text, nullable=False),
        Column("at", UtcDateTime, nullable=False, server_default=func.now()),
    )


class UnitOfWork:
    """The rows that one local transaction has read and those that it will write (Fowler, Unit of Work).

    Decisions read rows with `get`. Their time is `now`, the one instant of the transaction: they read no clock.
    """

    def __init__(self, metadata: MetaData, now: datetime, *, publishes: bool = False) -> None:
        self.now = now
        self._effects = metadata.tables["effects"]
        self._outbox = metadata.tables["outbox"] if publishes else None
        self._rows: dict[Ref, Record] = {}
        self._changed: dict[Ref, None] = {}
        self._done: list[dict[str, str]] = []
        self._told: list[dict[str, str]] = []
        self.answers: Counter[tuple[str, str, str]] = Counter()
        """How many operations were answered, by operation, answer and code of a refusal."""

    def get(self, kind: type[R], *key: Any) -> R | None:
        return typing.cast("R | None", self._rows.get(Ref(kind, key)))

    def put(self, changed: Iterable[Record]) -> None:
        for row in changed:
            ref = Ref(type(row), row.key)
            self._rows[ref] = row
            self._changed[ref] = None

    def note_effect(self, transaction_id: str, operation: str, reply: str) -> None:
        """Note that an operation takes effect, for the audit and, where events are on, for the world outside."""
        effect = {"transaction_id": transaction_id, "operation": operation}
        self._done.append(effect)
        if self._outbox is not None:
            self._told.append(effect | {"reply": reply})

    def count(self, operation: str, answer: str, code: str = "") -> None:
        """Count an answer of the fence, for the metrics."""
        self.answers[operation, answer, code] += 1

    def load(self, tx: Connection, refs: Iterable[Ref]) -> None:
        """Read the rows that exist among `refs`, with one query for each table."""
        keys: dict[type[Record], dict[Key, None]] = defaultdict(dict)
        for kind, key in refs:
            keys[kind][key] = None
        for kind, wanted in keys.items():
            by_column = zip(kind.key_columns, zip(*wanted, strict=True), strict=True)
            named = {name: list(dict.fromkeys(values)) for name, values in by_column}
            for values in read(tx, select_by_key(kind.table, kind.key_columns, tx.dialect.name), named):
                row = kind(**dict(zip(kind.columns, values, strict=True)))
                if row.key in wanted:
                    self._rows[Ref(kind, row.key)] = row

    def save(self, tx: Connection) -> None:
        """Write the rows that were put, with one statement for each table.

        The rows are in key order, so that two transactions never wait for each other in a circle. Raises `Stale` if
        any row has been written since it was loaded; the transaction must then be rolled back.
        """
        changed: dict[type[Record], list[Record]] = defaultdict(list)
        for ref in sorted(self._changed, key=lambda ref: (ref.kind.table.name, ref.key)):
            changed[ref.kind].append(self._rows[ref])
        for kind, rows in changed.items():
            values = [vars(row) | {"version": row.version + 1} for row in rows]
            if _write(tx, kind, values) < len(rows):
                raise Stale(kind.table.name)
        if self._done:
            write(tx, _append_to(self._effects), self._done)
        if self._outbox is not None and self._told:
            write(tx, _append_to(self._outbox), self._told)


def _write(tx: Connection, kind: type[Record], values: list[dict[str, Any]]) -> int:
    """The number of rows written. SQLite's driver counts them; with PostgreSQL's, each written row is returned."""
    upsert = _upsert(kind.table, kind.key_columns, tx.dialect.name)
    if tx.dialect.name == "sqlite":
        return write(tx, upsert, values)
    return len(tx.execute(upsert.returning(kind.table.c.version), values).all())


@cache
def select_by_key(table: Table, key_columns: tuple[str, ...], dialect: str) -> Select[Any]:
    """Select the rows whose key columns are each in a list: the wanted rows, and perhaps a few more.

    SQLite finds them by the primary key. For a list of whole keys, (a, b) IN (...), it would scan the table. A list is
    one parameter, so that the statement is the same for every length of it and prepared once.
    """
    return select(table).where(*(_is_in_list(table.c[name], dialect) for name in key_columns))


def _is_in_list(column: Column[Any], dialect: str) -> ColumnElement[bool]:
    if dialect == "postgresql":
        return column == any_(bindparam(column.name, type_=ARRAY(column.type)))
    values = func.json_each(bindparam(column.name, type_=JSON)).table_valued("value")
    return column.in_(select(values.c.value))


@cache
def _append_to(table: Table) -> Insert:
    return table.insert()


@cache
def _upsert(table: Table, key_columns: tuple[str, ...], dialect: str) -> postgresql.Insert | sqlite.Insert:
    """Insert a row at version 1, or update it if the table still has the version before."""
    insert = (postgresql.insert if dialect == "postgresql" else sqlite.insert)(table)
    fresh = insert.excluded
    return insert.on_conflict_do_update(
        index_elements=[table.c[name] for name in key_columns],
        set_={column.name: fresh[column.name] for column in table.c if column.name not in key_columns},
        where=table.c.version == fresh.version - 1,
    )
