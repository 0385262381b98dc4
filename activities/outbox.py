"""The transactional outbox of a service: what took effect, written in the operation's own local transaction.

A row is added with the business rows that it is about, and is deleted when the world outside has it. So an event is
told if, and only if, its operation took effect, and a relay that is killed anywhere loses none (Richardson,
Microservices Patterns, Transactional outbox).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import BigInteger, Column, Connection, Integer, MetaData, Table, Text, delete, func, select

from activities.records import UtcDateTime


@dataclass(frozen=True)
class OutboxRow:
    """`reply` is the operation's, as JSON. `id` grows with the time at which rows of one transaction were written.

    The row of an announcement (`contracts.order.announce`) has the operation `saga.<kind>/<key>`.
    """

    id: int
    transaction_id: str
    operation: str
    reply: str
    at: datetime


def outbox_table(metadata: MetaData) -> Table:
    return Table(
        "outbox",
        metadata,
        Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
        Column("transaction_id", Text, nullable=False),
        Column("operation", Text, nullable=False),
        Column("reply", Text, nullable=False),
        Column("at", UtcDateTime, nullable=False, server_default=func.now()),
        sqlite_autoincrement=True,  # no id twice: a relay removes by id what it has sent, and another may have before
    )


def oldest(connection: Connection, outbox: Table, limit: int) -> list[OutboxRow]:
    """The rows that have waited longest, in their order."""
    columns = (outbox.c.id, outbox.c.transaction_id, outbox.c.operation, outbox.c.reply, outbox.c.at)
    return [OutboxRow(*row) for row in connection.execute(select(*columns).order_by(outbox.c.id).limit(limit))]


def remove(connection: Connection, outbox: Table, ids: Sequence[int]) -> None:
    """Delete the rows that the world outside has."""
    connection.execute(delete(outbox).where(outbox.c.id.in_(ids)))
