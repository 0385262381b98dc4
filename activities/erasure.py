"""Personal data of one customer, replaced in a service's database. Amounts, goods and ids stay, so the sums do too.

The digest of a request is a hash of it: who has a name or an address in mind can find out whether the hash is of that.
It is therefore personal data too where the request has such data, and is replaced (`activities.fence.ERASED`). The
fence still answers a repeated request with its first reply.
"""

from functools import partial
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, exists, func, or_, select, update

from activities.definition import Query, ServiceDefinition
from activities.fence import ERASED as ERASED_DIGEST
from contracts.erasure import (
    ERASE,
    ERASED,
    FIND,
    CustomerErased,
    CustomerFound,
    EraseCustomer,
    FindCustomer,
    has_personal_data,
)
from contracts.ids import is_orders


def queries(service: ServiceDefinition) -> list[Query[Any, Any]]:
    """The queries by which a service finds a customer's transactions, and replaces the personal data in them."""
    return [Query(FIND[service.name], partial(_find, service)), Query(ERASE[service.name], partial(_erase, service))]


def _find(service: ServiceDefinition, connection: Connection, question: FindCustomer) -> CustomerFound:
    naming = [table for table in service.metadata.tables.values() if "customer_id" in table.c]
    found: set[str] = set()
    ends: list[str] = []
    for table in naming:
        if "transaction_id" in table.c:
            columns = table.c.transaction_id, table.c.customer_id
            rows = select(*columns).where(columns[0] > question.after).order_by(columns[0]).limit(question.rows)
            page = rows.subquery()
            of_customer = select(page.c.transaction_id).where(page.c.customer_id == question.customer_id)
            found |= set(connection.scalars(of_customer.order_by(page.c.transaction_id)))
            count, last = connection.execute(select(func.count(), func.max(page.c.transaction_id))).one()
            ends += [last] if count == question.rows else []
    keyed = (table for table in naming if table.c.customer_id.primary_key)
    is_known = bool(found) or any(
        connection.scalar(select(exists().where(table.c.customer_id == question.customer_id))) for table in keyed
    )
    return CustomerFound(is_known=is_known, transaction_ids=tuple(sorted(found)), next=min(ends) if ends else None)


def _erase(service: ServiceDefinition, connection: Connection, request: EraseCustomer) -> CustomerErased:
    erased = service.erase(connection, request)
    for kind, columns in service.personal.items():
        kept = or_(*(kind.table.c[name] != ERASED for name in columns))
        rows = update(kind.table).where(_of(kind.table, request), kept)
        values = dict.fromkeys(columns, ERASED) | {"version": kind.table.c.version + 1}
        erased += connection.execute(rows.values(values)).rowcount
    fence = service.operation_records.table
    steps = {each.operation.step for each in service.handlers if has_personal_data(each.operation.request)}
    rows = update(fence).where(_of(fence, request), fence.c.step.in_(steps), ~fence.c.digest.startswith(ERASED_DIGEST))
    erased += connection.execute(rows.values(digest=ERASED_DIGEST, version=fence.c.version + 1)).rowcount
    return CustomerErased(rows=erased)


def _of(table: Table, request: EraseCustomer) -> ColumnElement[bool]:
    """The rows of the request's transactions, and of the parts of those given as data."""
    column, ids = table.c.transaction_id, request.transaction_ids
    parts = (column.startswith(f"{each}/", autoescape=True) for each in ids if not is_orders(each))
    return or_(column.in_(ids), *parts)
