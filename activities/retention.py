"""How ended transactions leave a service's database: listed by age, refused from then on, and removed.

What is left of a retired transaction is one record in the fence, which refuses each late delivery, and its part of the
sums that are carried forward, so that stock and money still add up.

| stage | the service |
|---|---|
| EXAMINE | says which transactions hold something, have an event that is not told yet, or are younger than the bound |
| REFUSE | leaves the record that refuses each operation, and keeps all rows |
| REMOVE | leaves that record, carries the sums forward and deletes all rows, in one local transaction |

Each stage may be repeated. Whether a workflow still knows a transaction, and the order of the services, is the
client's part (`client/retirement.py`).
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

from sqlalchemy import BigInteger, Column, Connection, MetaData, Select, Table, Text, delete, func, select
from sqlalchemy.dialects import postgresql, sqlite

from activities.definition import Query, ServiceDefinition
from activities.fence import RETIRED, RecordState, record_of_retired
from contracts.ids import is_orders
from contracts.retention import LIST_OLD, RETIRE, ListOld, OldTransactions, Retire, Retired, RetireStage, Stays


def carried_forward(metadata: MetaData, subject: str, amount: str) -> Table:
    """Declare the table of the sums that removed rows leave, one for each `subject`."""
    columns = (Column(subject, Text, primary_key=True), Column(amount, BigInteger, nullable=False))
    return Table("carried_forward", metadata, *columns)


def carry(connection: Connection, table: Table, amounts: Select[Any]) -> None:
    """Add `amounts`, rows of subject and amount, to the sums in `table`."""
    subject, amount = table.c
    insert = (postgresql if connection.dialect.name == "postgresql" else sqlite).insert(table)
    added = insert.on_conflict_do_update(
        index_elements=[subject], set_={amount.name: amount + insert.excluded[amount.name]}
    )
    rows = [{subject.name: each, amount.name: int(total)} for each, total in connection.execute(amounts)]
    if rows:
        connection.execute(added, rows)


def queries(service: ServiceDefinition) -> list[Query[Any, Any]]:
    """The queries by which the transactions of a service are listed by age and retired."""
    return [
        Query(LIST_OLD[service.name], partial(_list_old, service)),
        Query(RETIRE[service.name], partial(_retire, service)),
    ]


def _list_old(service: ServiceDefinition, connection: Connection, question: ListOld) -> OldTransactions:
    fence = service.operation_records.table.c
    wanted = select(fence.transaction_id, fence.step).where(fence.transaction_id > question.after)
    page = connection.execute(wanted.order_by(fence.transaction_id).limit(question.rows)).all()
    newest = _newest(service, connection, [row.transaction_id for row in page]).items()
    young = [each for each, at in newest if at > question.before]
    parts = tuple(each for each in young if "/" in each and not is_orders(each))
    old = tuple(each for each, at in newest if at < question.before)
    next_ = page[-1].transaction_id if len(page) == question.rows else None
    return OldTransactions(transaction_ids=old, young_parts=parts, next=next_)


def _newest(service: ServiceDefinition, connection: Connection, transaction_ids: Sequence[str]) -> dict[str, datetime]:
    """The time of the last change of each transaction; those that the service does not know are left out."""
    fence = service.operation_records.table.c
    times = select(fence.transaction_id, func.max(fence.at, type_=fence.at.type))
    wanted = fence.transaction_id.in_(transaction_ids) & (fence.step != RETIRED)
    return {row[0]: row[1] for row in connection.execute(times.where(wanted).group_by(fence.transaction_id))}


def _retire(service: ServiceDefinition, connection: Connection, request: Retire) -> Retired:
    ids = request.transaction_ids
    staying = _staying(service, connection, request)
    leaving = [each for each in ids if each not in staying]
    removed = 0
    if request.stage is not RetireStage.EXAMINE and leaving:
        _refuse(service, connection, leaving)
    if request.stage is RetireStage.REMOVE and leaving:
        service.carry(connection, leaving)
        removed = sum(_delete(connection, table, leaving) for table in _tables(service))
    return Retired(
        staying=staying,
        refused=_refused(service, connection, ids),
        coordinators=_coordinators(service, connection, ids),
        rows=removed,
    )


def _staying(service: ServiceDefinition, connection: Connection, request: Retire) -> dict[str, Stays]:
    newest = _newest(service, connection, request.transaction_ids)
    staying = {each: Stays.YOUNG for each, at in newest.items() if at >= request.before}
    outbox = service.metadata.tables["outbox"].c
    untold = select(outbox.transaction_id).where(outbox.transaction_id.in_(request.transaction_ids)).distinct()
    staying |= dict.fromkeys(connection.scalars(untold), Stays.HOLDS)
    for kind, states in service.holds.items():
        columns = kind.table.c
        holding = columns.transaction_id.in_(request.transaction_ids) & columns.state.in_(states)
        staying |= dict.fromkeys(connection.scalars(select(columns.transaction_id).where(holding)), Stays.HOLDS)
    return staying


def _refuse(service: ServiceDefinition, connection: Connection, transaction_ids: Sequence[str]) -> None:
    """Refuse orders, which every service may get an operation of, and other transactions that the service knows."""
    now, fence = datetime.now(UTC), service.operation_records.table.c
    known = set(connection.scalars(select(fence.transaction_id).where(fence.transaction_id.in_(transaction_ids))))
    refused = [each for each in transaction_ids if is_orders(each) or each in known]
    rows = [
        {
            "transaction_id": whole,
            "step": step,
            "state": RecordState.RETIRED,
            "digest": "",
            "answer": "",
            "at": now,
            "version": 1,
        }
        for whole, step in dict.fromkeys(map(record_of_retired, refused))
    ]
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    if rows:
        connection.execute(dialect.insert(service.operation_records.table).on_conflict_do_nothing(), rows)


def _refused(service: ServiceDefinition, connection: Connection, transaction_ids: Iterable[str]) -> tuple[str, ...]:
    fence = service.operation_records.table.c
    wholes = {record_of_retired(each)[0]: None for each in transaction_ids}
    found = select(fence.transaction_id).where(fence.transaction_id.in_(wholes), fence.step == RETIRED)
    return tuple(connection.scalars(found))


def _tables(service: ServiceDefinition) -> list[Table]:
    """The tables with rows of transactions."""
    return [table for table in service.metadata.tables.values() if "transaction_id" in table.c]


def _delete(connection: Connection, table: Table, transaction_ids: Sequence[str]) -> int:
    rows = delete(table).where(table.c.transaction_id.in_(transaction_ids))
    if "step" in table.c:
        rows = rows.where(table.c.step != RETIRED)
    return connection.execute(rows).rowcount


def _coordinators(service: ServiceDefinition, connection: Connection, transaction_ids: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for table in _tables(service):
        if "coordinator" in table.c:
            named = table.c.transaction_id.in_(transaction_ids) & table.c.coordinator.is_not(None)
            wanted = select(table.c.transaction_id, table.c.coordinator).where(named)
            found |= {row.transaction_id: row.coordinator for row in connection.execute(wanted)}
    return found
