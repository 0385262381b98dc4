"""The binding of a database to one Temporal. Two that shared a database would each roll back the other's orders."""

from functools import partial
from typing import Any

from sqlalchemy import Column, Connection, Integer, MetaData, Row, Select, Table, Text, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from activities.database import Database
from contracts.identity import TemporalIdentity


class BoundElsewhere(Exception):
    """The database belongs to another Temporal. The message names both."""

    def __init__(self, there: TemporalIdentity, here: TemporalIdentity) -> None:
        super().__init__(f"belongs to Temporal namespace {there}, and this is {here}")


def binding_table(metadata: MetaData) -> Table:
    """Declare the table of the binding, which has one row."""
    return Table(
        "temporal_binding",
        metadata,
        Column("only", Integer, primary_key=True, autoincrement=False),
        Column("namespace_id", Text, nullable=False),
        Column("namespace", Text, nullable=False),
        Column("cluster_id", Text, nullable=False),
    )


_BINDING = binding_table(MetaData())
_BOUND: Select[Any] = select(_BINDING.c.namespace_id, _BINDING.c.namespace, _BINDING.c.cluster_id)


async def bind(database: Database, here: TemporalIdentity, *, adopt: bool = False) -> None:
    """Bind a database to this Temporal if it is not bound yet; with `adopt`, rebind any database.

    Raises `BoundElsewhere`.
    """
    there = await database.migration(partial(_bind, here=here, adopt=adopt))
    require_same(there, here)


def _bind(connection: Connection, *, here: TemporalIdentity, adopt: bool) -> TemporalIdentity | None:
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    insert = dialect.insert(_BINDING).values(only=1, **here._asdict())
    # The conflict decides, not a SELECT before: of two workers that start at once, the second sees the first.
    adopted = insert.on_conflict_do_update(index_elements=["only"], set_=here._asdict())
    connection.execute(adopted if adopt else insert.on_conflict_do_nothing())
    return _identity(connection.execute(_BOUND).first())


async def bound_to(connection: AsyncConnection) -> TemporalIdentity | None:
    """The Temporal that a database is bound to; `None` before the first worker has opened it."""
    return _identity((await connection.execute(_BOUND)).first())


def require_same(there: TemporalIdentity | None, here: TemporalIdentity) -> None:
    """Raise `BoundElsewhere` if the database is bound to another namespace."""
    if there is not None and there.namespace_id != here.namespace_id:
        raise BoundElsewhere(there, here)


def _identity(row: Row[Any] | None) -> TemporalIdentity | None:
    return None if row is None else TemporalIdentity._make(row)
