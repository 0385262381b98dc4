"""The order service: owns the order documents, and the state of each order: pending, confirmed or cancelled."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Column, Connection, Integer, MetaData, Table, Text, exists, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import RowMapping

from activities.definition import Query, ServiceDefinition, implements, lists_open, readable
from activities.fence import RETIRED, Decision, RefusedDecision, UnreadableReply, declare_fence, erased_digest
from activities.records import Record, Ref, UnitOfWork, UtcDateTime, effects_table, record
from contracts import order
from contracts.erasure import ERASED, EraseCustomer, without_personal_data
from contracts.errors import Code
from contracts.ids import whole_of
from contracts.message import Reply
from contracts.order import (
    Announce,
    ConfirmOrder,
    CreateOrder,
    DecisionsOnRecord,
    Order,
    OrderOnRecord,
    OrderRecorded,
    OrdersOnRecord,
    OrderState,
    ReadDecisions,
    ReadOrders,
    RecordDecisions,
    RecordSkips,
    TakenDecision,
)
from contracts.problems import first_problem
from temporal_saga import Announcement

_OUTSIDE = TypeAdapter(Announcement)
metadata = MetaData()
Fence = declare_fence(metadata)
effects_table(metadata)
SKIPS = Table(
    "skips",
    metadata,
    Column("transaction_id", Text, primary_key=True),
    Column("step", Text, primary_key=True),
    Column("actor", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("at", UtcDateTime, nullable=False),
)
"""The steps of orders and other transactions that operators skipped. Temporal deletes its own record of them when the
retention of the closed workflow ends."""

DECISIONS = Table(
    "decisions",
    metadata,
    Column("workflow_id", Text, primary_key=True),
    Column("update_id", Text, primary_key=True),
    Column("transaction_id", Text, nullable=False, index=True),
    Column("step", Text, nullable=False),
    Column("decision", Text, nullable=False),
    Column("actor", Text),
    Column("reason", Text),
    Column("at", UtcDateTime, nullable=False),
)
"""Every decision that operators took, also a skip that was not needed in the end, for longer than Temporal keeps it."""

ERASURES = Table(
    "erasures",
    metadata,
    Column("customer_id", Text, primary_key=True),
    Column("at", UtcDateTime, primary_key=True),
    Column("actor", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("transactions", Integer, nullable=False),
)
"""Who had the personal data of which customer erased, why, when, and in how many transactions."""


@record(metadata, "orders", key=("order_id",), indexed=("transaction_id",))
@dataclass(frozen=True)
class PlacedOrder(Record):
    order_id: str
    transaction_id: str
    customer_id: str
    currency: str
    total_minor: int
    state: OrderState
    document: str
    """The order as it was placed, in JSON: enough to finish or undo it without its workflow."""
    coordinator: str | None

    def answer(self) -> OrderRecorded:
        return OrderRecorded(order_id=self.order_id, state=self.state, total_minor=self.total_minor)


def _order_of(request: CreateOrder) -> Iterable[Ref]:
    return [Ref(PlacedOrder, (request.order.order_id,))]


@implements(order.create, touches=_order_of)
def create(uow: UnitOfWork, request: CreateOrder) -> Decision[OrderRecorded]:
    placed = request.order
    if uow.get(PlacedOrder, placed.order_id) is not None:
        raise RefusedDecision(Code.DUPLICATE_ORDER, f"order {placed.order_id} exists under another transaction")
    row = PlacedOrder(
        order_id=placed.order_id,
        transaction_id=request.transaction_id,
        customer_id=placed.customer_id,
        currency=placed.currency,
        total_minor=placed.total_minor,
        state=OrderState.PENDING,
        document=placed.model_dump_json(),
        coordinator=request.coordinator,
    )
    return Decision(row.answer(), [row])


@implements(order.cancel, touches=_order_of)
def cancel(uow: UnitOfWork, request: CreateOrder) -> Decision[OrderRecorded]:
    placed = request.order
    row = uow.get(PlacedOrder, placed.order_id)
    if row is None or row.transaction_id != request.transaction_id:
        nothing = OrderRecorded(order_id=placed.order_id, state=OrderState.CANCELLED, total_minor=placed.total_minor)
        return Decision(nothing)
    if row.state is OrderState.CONFIRMED:
        raise RefusedDecision(Code.CANCEL_REFUSED, f"order {row.order_id} is confirmed")
    row = replace(row, state=OrderState.CANCELLED)
    return Decision(row.answer(), [row])


@implements(order.confirm, touches=lambda request: [Ref(PlacedOrder, (request.order_id,))])
def confirm(uow: UnitOfWork, request: ConfirmOrder) -> Decision[OrderRecorded]:
    row = uow.get(PlacedOrder, request.order_id)
    if row is None or row.state is not OrderState.PENDING:
        raise RefusedDecision(Code.NOTHING_TO_ACT_ON, f"there is no pending order {request.order_id}")
    row = replace(row, state=OrderState.CONFIRMED)
    return Decision(row.answer(), [row])


def _read_orders(connection: Connection, question: ReadOrders) -> OrdersOnRecord:
    columns = PlacedOrder.table.c
    has_skips = exists().where(SKIPS.c.transaction_id == columns.transaction_id).label("has_skips")
    wanted = select(columns.transaction_id, columns.document, columns.coordinator, columns.state, has_skips)
    found = connection.execute(wanted.where(columns.transaction_id.in_(question.transaction_ids)))
    orders, unreadable = readable(
        found,
        lambda row: str(row.transaction_id),
        lambda row: OrderOnRecord(
            order=Order.model_validate_json(row.document),
            coordinator=row.coordinator,
            state=row.state,
            has_skips=bool(row.has_skips),
        ),
    )
    fence = Fence.table.c
    gone = select(fence.transaction_id, fence.at).where(
        fence.transaction_id.in_(question.transaction_ids), fence.step == RETIRED
    )
    retired = {row.transaction_id: row.at for row in connection.execute(gone)}
    return OrdersOnRecord(orders=orders, unreadable=unreadable, retired=retired)


def _record_skips(connection: Connection, request: RecordSkips) -> Reply:
    """Add the skips that are not on record. It needs no fence, because a recorded skip never changes."""
    of_transaction = SKIPS.c.transaction_id == request.transaction_id
    known = set(connection.scalars(select(SKIPS.c.step).where(of_transaction)))
    fresh = {skip.step: skip for skip in request.skips if skip.step not in known}
    rows = [skip.model_dump() | {"transaction_id": request.transaction_id} for skip in fresh.values()]
    if rows:
        connection.execute(insert(SKIPS), rows)
    return Reply()


def _record_decisions(connection: Connection, request: RecordDecisions) -> Reply:
    """Add the decisions that are not on record. It needs no fence, because a recorded decision never changes."""
    insert_into = (postgresql if connection.dialect.name == "postgresql" else sqlite).insert(DECISIONS)
    connection.execute(insert_into.on_conflict_do_nothing(), [taken.model_dump() for taken in request.decisions])
    return Reply()


def _read_decisions(connection: Connection, question: ReadDecisions) -> DecisionsOnRecord:
    wanted = select(DECISIONS).order_by(DECISIONS.c.at.desc()).limit(question.limit)
    if question.workflow_ids:
        wanted = wanted.where(DECISIONS.c.workflow_id.in_(question.workflow_ids))
    found = connection.execute(wanted).mappings()
    return DecisionsOnRecord(decisions=tuple(TakenDecision.model_validate(dict(row)) for row in found))


def _announce(connection: Connection, request: Announce) -> Reply:
    """Add the announcements to the outbox. It needs no fence: an event that is told twice has the same id."""
    rows = [
        {
            "transaction_id": each.transaction_id,
            "operation": f"saga.{each.kind}/{each.key}",
            "reply": _OUTSIDE.dump_json(each, include={"state", "error_code", "parked"}).decode(),
            "at": each.at,
        }
        for each in request.announcements
    ]
    connection.execute(insert(metadata.tables["outbox"]), rows)
    return Reply()


def _erase(connection: Connection, request: EraseCustomer) -> int:
    """Replace the personal data in the order documents, and free text of operators. Keep who asked for it."""
    erased = sum(_erase_document(connection, row) for row in _documents(connection, request.transaction_ids))
    about = {*request.transaction_ids, *map(whole_of, request.transaction_ids)}
    for table in (SKIPS, DECISIONS):
        reasons = update(table).where(table.c.transaction_id.in_(about), table.c.reason != ERASED)
        erased += connection.execute(reasons.values(reason=ERASED)).rowcount
    recorded = {
        "customer_id": request.customer_id,
        "at": request.at,
        "actor": request.actor,
        "reason": request.reason,
        "transactions": request.total,
    }
    fresh = not connection.scalar(
        select(exists().where(ERASURES.c.customer_id == request.customer_id, ERASURES.c.at == request.at))
    )
    if fresh:
        connection.execute(insert(ERASURES), [recorded])
    return erased


def _documents(connection: Connection, transaction_ids: Sequence[str]) -> Iterable[RowMapping]:
    columns = PlacedOrder.table.c
    wanted = select(columns.transaction_id, columns.order_id, columns.document, columns.coordinator)
    return connection.execute(wanted.where(columns.transaction_id.in_(transaction_ids))).mappings().all()


def _erase_document(connection: Connection, row: RowMapping) -> int:
    try:
        placed = Order.model_validate_json(row["document"])
    except ValidationError as error:
        message = f"{row['transaction_id']} is on record, but this build cannot read it: {first_problem(error)}"
        raise UnreadableReply(message) from None
    erased = without_personal_data(placed)
    if erased == placed:
        return 0
    fence, orders = Fence.table, PlacedOrder.table
    request = CreateOrder(transaction_id=row["transaction_id"], order=placed, coordinator=row["coordinator"])
    created = (fence.c.transaction_id == request.transaction_id) & (fence.c.step == order.create.step)
    connection.execute(update(fence).where(created).values(digest=erased_digest(request), version=fence.c.version + 1))
    changed = {"document": erased.model_dump_json(), "version": orders.c.version + 1}
    connection.execute(update(orders).where(orders.c.order_id == row["order_id"]).values(changed))
    return 1


ORDER = ServiceDefinition(
    "order",
    metadata,
    Fence,
    [create, cancel, confirm],
    [
        Query(order.read_orders, _read_orders),
        Query(order.record_skips, _record_skips),
        Query(order.record_decisions, _record_decisions),
        Query(order.read_decisions, _read_decisions),
        Query(order.announce, _announce),
        lists_open(order.list_open, PlacedOrder, OrderState.PENDING),
    ],
    holds={PlacedOrder: frozenset({OrderState.PENDING})},
    erase=_erase,
)
