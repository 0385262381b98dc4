"""The statements of every operation, executed: on SQLite by its driver itself, from a text that is compiled once.

SQLAlchemy prepares each execution of a statement anew. With five statements in a transaction, that took a service more
time than all else that it does for an operation. On PostgreSQL it is little beside the round trip.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import Connection, Insert, Select
from sqlalchemy.dialects import sqlite
from sqlalchemy.types import TypeEngine

_SQLITE = sqlite.dialect()


def read(tx: Connection, query: Select[Any], parameters: Mapping[str, Any]) -> Iterable[Sequence[Any]]:
    """The rows of `query`, each with the values of its columns."""
    if tx.dialect.name != "sqlite":
        return tx.execute(query, parameters)
    return _prepared(query).read(tx, parameters)


def write(tx: Connection, insert: Insert, rows: Sequence[Mapping[str, Any]]) -> int:
    """Execute `insert` for all `rows`, which have the same keys. Returns the number of rows written, on SQLite."""
    if tx.dialect.name != "sqlite":
        return tx.execute(insert, rows).rowcount
    return _prepared(insert, tuple(rows[0])).write(tx, rows)


class _Prepared:
    def __init__(self, statement: Select[Any] | Insert, names: tuple[str, ...] | None = None) -> None:
        compiled = statement.compile(dialect=_SQLITE, column_keys=names)
        self._text, constants = str(compiled), compiled.params
        self._parameters = [
            (name, constants[name], _type(compiled.binds[name].type).bind_processor(_SQLITE))
            for name in compiled.positiontup or ()
        ]
        columns = statement.selected_columns if isinstance(statement, Select) else ()
        self._columns = [_type(column.type).result_processor(_SQLITE, None) for column in columns]

    def read(self, tx: Connection, parameters: Mapping[str, Any]) -> Iterable[Sequence[Any]]:
        for row in _driver(tx).execute(self._text, self._values(parameters)):
            yield [convert(value) if convert else value for convert, value in zip(self._columns, row, strict=True)]

    def write(self, tx: Connection, rows: Sequence[Mapping[str, Any]]) -> int:
        return int(_driver(tx).executemany(self._text, map(self._values, rows)).rowcount)

    def _values(self, given: Mapping[str, Any]) -> list[Any]:
        return [
            convert(given.get(name, constant)) if convert else given.get(name, constant)
            for name, constant, convert in self._parameters
        ]


_prepared = cache(_Prepared)


def _type(declared: TypeEngine[Any]) -> TypeEngine[Any]:
    """The type as SQLite has it."""
    return declared.dialect_impl(_SQLITE)


def _driver(tx: Connection) -> Any:
    return tx.connection.driver_connection
