"""The fence for a service's own SQL database, over SQLAlchemy Core: `pip install "temporal-saga[sql]"`.

    fence = Fence(create_table(metadata))

    @activity.defn(name=hotel.book.name)
    async def book(request: BookRoom) -> Booking:
        async with begin(engine) as connection, fence.once(connection, hotel.book, request) as once:
            if once.acts:
                await connection.execute(...)
                once.reply = Booking(...)
        return once.reply

The record of the step and its effect are written in one local transaction, the caller's; the module `rules` says what
is done. To refuse, raise `Refusal` in the block: an `ApplicationError` with a type that Temporal must not retry is one,
too. Temporal retries any other error, and the next attempt finds what has become of the step.

It works on PostgreSQL, SQLite, MySQL and MariaDB, with connections and with asyncio connections, in a transaction (not
in AUTOCOMMIT).
"""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Generic, TypeVar, overload

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    DateTime,
    Engine,
    Insert,
    MetaData,
    String,
    Table,
    Text,
    and_,
    bindparam,
    select,
)
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from temporalio.exceptions import ApplicationError

from temporal_saga.fence.arrival import INVALID_REQUEST, LONGEST, Arrival, Key
from temporal_saga.fence.rules import Act, Kept, OperationState, Refuse, Repeat, Tombstone, admit, keeps
from temporal_saga.operation import Operation
from temporal_saga.outcome import Refusal, refusal_code

__all__ = ["FORGOTTEN_AT_ONCE", "INVALID_REQUEST", "Fence", "Key", "Once", "begin", "create_table"]

Reply = TypeVar("Reply")

FORGOTTEN_AT_ONCE = 1_000
"""Records that one call of `Fence.forget` deletes: a short transaction, whose locks disturb no one."""


def create_table(metadata: MetaData, name: str = "operations") -> Table:
    """Declare the table of a fence in `metadata`, for `metadata.create_all` or a migration to create."""
    # The usual collation of MySQL takes t-1 and T-1 for the same.
    exact = mysql.VARCHAR(LONGEST, charset="utf8mb4", collation="utf8mb4_bin")
    half_of_key = String(LONGEST).with_variant(exact, "mysql", "mariadb")
    return Table(
        name,
        metadata,
        Column("transaction_id", half_of_key, primary_key=True),
        Column("step", half_of_key, primary_key=True),
        Column("state", String(16), nullable=False),
        Column("digest", String(64), nullable=False),
        Column("answer", Text().with_variant(mysql.MEDIUMTEXT(), "mysql", "mariadb"), nullable=False),
        Column("written_at", DateTime(timezone=True), nullable=False, index=True),
    )


class Once(Generic[Reply]):
    """What the fence says of one request."""

    def __init__(self, operation: str, *, acts: bool, replied: tuple[Reply, ...]) -> None:
        self._acts = acts
        self.was_asked = False
        """Whether the block has looked at `acts`."""
        self._operation = operation
        self._replied = replied

    @property
    def acts(self) -> bool:
        """Whether the request is to be performed now, and its `reply` to be set."""
        self.was_asked = True
        return self._acts

    @property
    def reply(self) -> Reply:
        """The reply to return: the one that was set, or else the kept one."""
        if not self._replied:
            raise RuntimeError(f"{self._operation} has no reply: set `once.reply` in the block")
        return self._replied[0]

    @reply.setter
    def reply(self, reply: Reply) -> None:
        if not self._acts:
            raise RuntimeError(f"{self._operation} is not to be performed now: write and reply only `if once.acts`")
        self._replied = (reply,)


@overload
def begin(engine: Engine) -> AbstractContextManager[Connection]: ...


@overload
def begin(engine: AsyncEngine) -> AbstractAsyncContextManager[AsyncConnection]: ...


def begin(engine: Engine | AsyncEngine) -> Any:
    """Begin a transaction, as `engine.begin()` does, which a refusal commits, too: the record of it must stay.

    The refusal is raised again after the commit. `Fence.once` has rolled back what its block has written by then; what
    was written outside of it is committed.
    """
    return _begin_async(engine) if isinstance(engine, AsyncEngine) else _begin(engine)


class Fence:
    """The fence of a service, over the table in its own database that `create_table` declares."""

    def __init__(self, table: Table) -> None:
        self.table = table

    @overload
    def once(
        self, connection: Connection, call: Operation[Any, Reply], request: Any, *, nothing: Reply | None = None
    ) -> AbstractContextManager[Once[Reply]]: ...

    @overload
    def once(
        self, connection: AsyncConnection, call: Operation[Any, Reply], request: Any, *, nothing: Reply | None = None
    ) -> AbstractAsyncContextManager[Once[Reply]]: ...

    @overload
    def once(
        self, connection: Connection, call: Key, request: Any, *, nothing: Any = None
    ) -> AbstractContextManager[Once[Any]]: ...

    @overload
    def once(
        self, connection: AsyncConnection, call: Key, request: Any, *, nothing: Any = None
    ) -> AbstractAsyncContextManager[Once[Any]]: ...

    def once(
        self,
        connection: Connection | AsyncConnection,
        call: Operation[Any, Any] | Key,
        request: Any,
        *,
        nothing: Any = None,
    ) -> Any:
        """Give a block in which to perform `request` if it is to be performed, in the transaction of `connection`.

        The transaction id is `request.transaction_id`, or that of a `Key`. `nothing` is the reply of an undo that finds
        nothing to undo: such an undo does not act, because what it would take back was never done.

        A second attempt of the same step waits until the transaction of the first ends. A refusal that is raised in the
        block rolls back what the block has written, and is on record as soon as the transaction is committed: see
        `begin`. Any other error rolls back what the block has written and leaves no record.

        Raises refusals: STEP_UNDONE, IDEMPOTENCY_CONFLICT, NOTHING_TO_ACT_ON, INVALID_REQUEST and the kept one; and a
        retryable UNREADABLE_REPLY for a kept reply that this build cannot read.
        """
        arrival = Arrival.of(call, request, nothing)
        if isinstance(connection, AsyncConnection):
            return _on_async(connection, lambda tx: self._once(tx, arrival))
        return self._once(connection, arrival)

    @overload
    def forget(self, connection: Connection, older_than: timedelta) -> int: ...

    @overload
    async def forget(self, connection: AsyncConnection, older_than: timedelta) -> int: ...

    def forget(self, connection: Connection | AsyncConnection, older_than: timedelta) -> Any:
        """Delete the oldest records that were written longer ago than `older_than`, and return their number.

        One call deletes up to `FORGOTTEN_AT_ONCE`: call it and commit until it returns 0. What it costs: a duplicate of
        a forgotten operation takes effect again, and its undo finds nothing to undo. So keep a record longer than a
        saga can live, with the time that a call may be parked, and in which a workflow may be reset (the retention of
        the Temporal namespace).
        """
        before = datetime.now(UTC) - older_than
        if isinstance(connection, AsyncConnection):
            return connection.run_sync(self._forget, before)
        return self._forget(connection, before)

    def _forget(self, tx: Connection, before: datetime) -> int:
        column = self.table.c
        is_old = column.written_at < before
        oldest = select(column.transaction_id, column.step).where(is_old).order_by(column.written_at)
        keys = tx.execute(oldest.limit(FORGOTTEN_AT_ONCE).with_for_update()).all()
        if keys:
            its_key = self._is(bindparam("key_id"), bindparam("key_step"))
            tx.execute(
                self.table.delete().where(its_key, is_old), [{"key_id": id_, "key_step": step} for id_, step in keys]
            )
        return len(keys)

    @contextmanager
    def _once(self, tx: Connection, arrival: Arrival) -> Iterator[Once[Any]]:
        is_first = self._claim(tx, arrival)
        found = acted_on = None
        if not is_first:
            found = self._find(tx, arrival.transaction_id, arrival.asked.step)
        elif arrival.acts_on is not None:
            acted_on = arrival.acted_on(self._find(tx, arrival.transaction_id, arrival.acts_on.step))
        if found is None and not is_first:
            raise RuntimeError(f"the record of {arrival.asked.step} was deleted meanwhile: ask again")
        verdict = admit(arrival.asked, found, acted_on)
        if isinstance(verdict, Refuse):
            if is_first:
                self._delete(tx, arrival)
            raise Refusal(verdict.code, verdict.message)
        if isinstance(verdict, Act):
            with self._performing(tx, arrival, verdict, is_first=is_first) as once:
                yield once
            return
        if isinstance(verdict, Tombstone) and not is_first:
            self._write(tx, arrival, Kept(verdict.state, verdict.digest, arrival.nothing))
        answer = verdict.answer if isinstance(verdict, Repeat) else arrival.nothing
        once = Once(arrival.asked.operation, acts=False, replied=(arrival.read(answer),))
        yield once
        if not once.was_asked:
            raise RuntimeError(f"{arrival.asked.operation} is not to be performed now: its block must ask `once.acts`")

    @contextmanager
    def _performing(self, tx: Connection, arrival: Arrival, act: Act, *, is_first: bool) -> Iterator[Once[Any]]:
        once = Once[Any](arrival.asked.operation, acts=True, replied=() if arrival.needs_reply else (None,))
        whole = tx.get_transaction()
        assert whole is not None  # noqa: S101 — the first statement has begun it
        try:
            with tx.begin_nested():
                yield once
                answer = arrival.written(once.reply)
        except Exception as error:
            if is_first and whole.is_active and not tx.invalidated:
                self._leave_failure(tx, arrival, error)
            raise
        if not whole.is_active:
            raise RuntimeError(
                f"{arrival.asked.operation} has ended the transaction of its fence: leave that to the caller"
            )
        self._write(tx, arrival, Kept(act.state, act.digest, answer))

    def _leave_failure(self, tx: Connection, arrival: Arrival, error: Exception) -> None:
        """Keep a refusal of the first attempt, or nothing; the caller may go on with its transaction."""
        code = refusal_code(error) if isinstance(error, ApplicationError) else None
        if isinstance(error, ApplicationError) and code is not None and keeps(code):
            refused = Refuse(code, error.message)
            self._write(tx, arrival, Kept(OperationState.REFUSED, arrival.asked.digest, refused.text))
        else:
            self._delete(tx, arrival)

    def _claim(self, tx: Connection, arrival: Arrival) -> bool:
        """Insert the record of a first arrival, and say whether this is one. Waits for another attempt of the step.

        It is the first statement, and a write: so SQLite begins its transaction, and takes its write lock, here. The
        reply of a forward is empty until it is performed. A block that commits by itself and then fails leaves it so:
        it cannot be read, and the block does not run again.
        """
        is_undo = arrival.asked.is_undo
        state, answer = (OperationState.TOMBSTONE, arrival.nothing) if is_undo else (OperationState.DONE, "")
        key = {"transaction_id": arrival.transaction_id, "step": arrival.asked.step}
        insert = insert_or_nothing(self.table, tx.dialect.name)
        values = key | _values(Kept(state, arrival.asked.digest, answer))
        return tx.execute(insert, values, execution_options={"preserve_rowcount": True}).rowcount == 1

    def _find(self, tx: Connection, transaction_id: str, step: str) -> Kept | None:
        """The record, locked: of two undos one waits, and an undo waits for a capture of what it undoes."""
        column = self.table.c
        kept = select(column.state, column.digest, column.answer).where(self._is(transaction_id, step))
        row = tx.execute(kept.with_for_update()).one_or_none()
        return None if row is None else Kept(OperationState(row.state), row.digest, row.answer)

    def _write(self, tx: Connection, arrival: Arrival, kept: Kept) -> None:
        its_key = self._is(arrival.transaction_id, arrival.asked.step)
        tx.execute(self.table.update().where(its_key).values(_values(kept)))

    def _delete(self, tx: Connection, arrival: Arrival) -> None:
        tx.execute(self.table.delete().where(self._is(arrival.transaction_id, arrival.asked.step)))

    def _is(self, transaction_id: Any, step: Any) -> ColumnElement[bool]:
        return and_(self.table.c.transaction_id == transaction_id, self.table.c.step == step)


def _values(kept: Kept) -> dict[str, Any]:
    return {"state": kept.state.value, "digest": kept.digest, "answer": kept.answer, "written_at": datetime.now(UTC)}


@cache
def insert_or_nothing(table: Table, dialect: str) -> Insert:
    if dialect in ("mysql", "mariadb"):
        return mysql.insert(table).prefix_with("IGNORE")
    if dialect == "postgresql":
        return postgresql.insert(table).on_conflict_do_nothing(index_elements=table.primary_key)
    if dialect == "sqlite":
        return sqlite.insert(table).on_conflict_do_nothing(index_elements=table.primary_key)
    raise NotImplementedError(f"the fence works on PostgreSQL, SQLite, MySQL and MariaDB, not on {dialect}")


@contextmanager
def _begin(engine: Engine) -> Iterator[Connection]:
    refused = None
    with engine.begin() as connection:
        try:
            yield connection
        except ApplicationError as error:
            if refusal_code(error) is None:
                raise
            refused = error
    if refused is not None:
        raise refused


@asynccontextmanager
async def _begin_async(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    refused = None
    async with engine.begin() as connection:
        try:
            yield connection
        except ApplicationError as error:
            if refusal_code(error) is None:
                raise
            refused = error
    if refused is not None:
        raise refused


@asynccontextmanager
async def _on_async(
    connection: AsyncConnection, once: Callable[[Connection], AbstractContextManager[Once[Any]]]
) -> AsyncIterator[Once[Any]]:
    """Enter and leave `once` as SQLAlchemy runs synchronous code on an asyncio connection."""
    context = await connection.run_sync(once)
    given = await connection.run_sync(lambda _: context.__enter__())
    try:
        yield given
    except BaseException as error:
        raised = (type(error), error, error.__traceback__)
        await connection.run_sync(lambda _: context.__exit__(*raised))
        raise
    await connection.run_sync(lambda _: context.__exit__(None, None, None))
