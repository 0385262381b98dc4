"""One item that cannot be read or undone ends no round: it is named and counted, and the others are looked after."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client, WorkflowFailureError

from activities.catalogue import SERVICES
from audit.run import audit
from client import handles
from client.bulk import place_many
from client.desk import OperatorsDesk
from client.orders import Mode, Orders
from contracts import inventory, payment
from contracts.recovery import Swept
from recovery.parked import parked_since
from runtime.connection import Unreachable
from runtime.execute import execute
from runtime.settings import Settings, SettingsError
from temporal_saga import Failure, Retry, State

from ..rig import Handle, Rig, an_order, charge_of, goods_of, name

pytestmark = pytest.mark.asyncio(loop_scope="session")


def _codes(swept: Swept) -> dict[str, str]:
    return {failure.id: failure.code for failure in swept.failures}


async def test_an_order_whose_history_cannot_be_read_is_named_and_the_others_are_rolled_back(rig: Rig) -> None:
    sealed, lost = an_order(), an_order()
    client = await rig.with_another_key()
    await rig.never_runs("OrderWorkflow", sealed.transaction_id, sealed, client=client)
    for of_no_order in ("order/not an id", "somebody's", f"order/{'x' * 100}"):
        await rig.never_runs("OrderWorkflow", of_no_order, an_order())
    await rig.lost(lost)
    swept = await rig.sweep()
    assert lost.order_id in swept.orders
    assert _codes(swept)[sealed.transaction_id] == "UNREADABLE"
    assert swept.failed >= 1


async def test_an_audit_of_a_locked_database_does_not_advise_to_look_for_another(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("activities.sqlite.BUSY_TIMEOUT_S", 0.2)
    for service in SERVICES:
        with closing(sqlite3.connect(rig.folder / f"{service}.db")) as database:
            database.execute("VACUUM INTO ?", [str(tmp_path / f"{service}.db")])
    copies = Settings(database_url=f"sqlite+aiosqlite:///{tmp_path}/{{service}}.db")
    with closing(sqlite3.connect(tmp_path / "payment.db")) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(Unreachable, match=r"database is locked; it is busy: try again$"):
            await audit(rig.client, copies)
    (tmp_path / "payment.db").unlink()
    with pytest.raises(Unreachable, match=r"set DATABASE_URL, or start `python worker.py`$"):
        await audit(rig.client, copies)


async def test_what_is_no_order_of_its_workflow_is_named(rig: Rig) -> None:
    wrong = [(an_order().transaction_id, document) for document in ({"no": "order"}, an_order(), None, "text")]
    for transaction_id, document in wrong:
        await rig.never_runs("OrderWorkflow", transaction_id, document)
    codes = _codes(await rig.sweep())
    assert [codes[transaction_id] for transaction_id, _ in wrong] == ["INVALID_ORDER"] * len(wrong)
    for transaction_id, document in wrong:
        ended = await rig.start("OrderWorkflow", transaction_id, document)
        with pytest.raises(WorkflowFailureError):
            await ended.result()
    assert not dict(wrong).keys() & _codes(await rig.sweep()).keys()


async def test_a_document_on_record_that_is_refused_now_is_named_and_the_others_are_rolled_back(rig: Rig) -> None:
    refused, lost = an_order(), an_order()
    await rig.lost(refused)
    await rig.lost(lost)
    document = json.loads(rig.rows("order", "SELECT document FROM orders WHERE order_id = ?", refused.order_id)[0][0])
    document["lines"][0]["quantity"] = 0
    rig.rows("order", "UPDATE orders SET document = ? WHERE order_id = ?", json.dumps(document), refused.order_id)
    swept = await rig.sweep()
    assert lost.order_id in swept.orders
    assert _codes(swept)[refused.transaction_id] == "UNREADABLE"
    rig.rows("order", "UPDATE orders SET document = ? WHERE order_id = ?", refused.model_dump_json(), refused.order_id)
    assert refused.order_id in (await rig.sweep()).orders


async def test_a_service_that_does_not_answer_is_named_and_the_others_are_asked(rig: Rig) -> None:
    lost = an_order()
    await rig.lost(lost)
    rig.refuse("payment.list_*")
    swept = await rig.sweep()
    rig.repair()
    assert lost.order_id in swept.orders
    codes = _codes(swept)
    assert (codes["payment.list_open"], codes["payment.list_expired"]) == ("SERVICE_UNAVAILABLE",) * 2


async def test_an_order_that_has_no_end_yet_is_named(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recovery.orders.FINISH_TIMEOUT_S", 0.5)
    lost = an_order()
    await rig.lost(lost)
    rig.refuse("payment.cancel", lost.transaction_id)
    swept = await rig.sweep()
    rig.repair()
    assert swept.unfinished == (lost.transaction_id,)
    assert swept.finished == swept.found - 1
    await rig.client.get_workflow_handle(lost.transaction_id).execute_update("desk_retry", "payment.cancel")


async def test_leases_end_beyond_the_first_page_and_beside_one_that_cannot_be_read_or_undone(rig: Rig) -> None:
    lost = [name("lost") for _ in range(3)]
    sick, stuck = name("sick"), name("stuck")
    for transaction in (*lost, sick, stuck):
        await execute(rig.client, inventory.reserve, goods_of(transaction))
        await execute(rig.client, payment.authorize, charge_of(transaction))
    rig.let_leases_pass(*lost, sick, stuck)
    rig.rows("inventory", "UPDATE reservations SET quantity = 20000 WHERE transaction_id = ?", sick)
    rig.rows("payment", "UPDATE payments SET currency = 'XXX' WHERE transaction_id = ?", sick)
    rig.refuse("inventory.release", stuck)
    swept = await rig.sweep(page=2)
    rig.repair()
    assert swept.leases_ended == 2 * len(lost) + 1
    assert {rig.state("inventory", each) for each in lost} == {"RELEASED"}
    assert {rig.state("payment", each) for each in (*lost, stuck)} == {"CANCELLED"}
    codes = _codes(swept)
    assert (codes[sick], codes[stuck]) == ("UNREADABLE", "SERVICE_UNAVAILABLE")
    rig.rows("inventory", "UPDATE reservations SET quantity = 2 WHERE transaction_id = ?", sick)
    rig.rows("payment", "UPDATE payments SET currency = 'EUR' WHERE transaction_id = ?", sick)
    assert (await rig.sweep()).leases_ended == 3


async def test_no_lease_ends_while_the_order_service_cannot_say_whose_it_is(rig: Rig) -> None:
    lost = an_order()
    await rig.lost(lost)
    rig.let_leases_pass(lost.transaction_id)
    rig.refuse("order.read_orders")
    swept = await rig.sweep()
    rig.repair()
    assert (swept.found, swept.leases_ended) == (0, 0)
    assert rig.state("payment", lost.transaction_id) == "AUTHORIZED"
    assert lost.order_id in (await rig.sweep()).orders


async def test_a_parked_saga_whose_answer_cannot_be_read_is_named_and_counted_beside_the_others(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    sealed, other = an_order(), an_order()
    for placed in (sealed, other):
        rig.refuse("inventory.commit", placed.transaction_id)
        await rig.until_parked(await rig.place(placed), "inventory.commit")
        await rig.until_listed(f"WorkflowId = '{placed.transaction_id}' AND SagaState = 'PARKED'")
    asked = handles.query

    async def with_another_key(client: Client, handle: Handle, *arguments: Any, **options: Any) -> Any:
        if handle.id == sealed.transaction_id:
            raise SettingsError("PAYLOAD_KEY: another key, 1234, has encrypted what Temporal holds")
        return await asked(client, handle, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(handles, "query", with_another_key)
        silent: dict[str, Failure] = {}
        calls = [call.order_id async for call in OperatorsDesk(rig.client).parked(silent.__setitem__)]
        counted = await parked_since(rig.client)
    assert other.order_id in calls
    assert [*silent] == [sealed.transaction_id]
    assert silent[sealed.transaction_id].message.startswith("its answer cannot be read: PAYLOAD_KEY: another key, 1234")
    assert {service for service, _ in counted} >= {"inventory", "unknown"}
    rig.repair()
    for placed in (sealed, other):
        await OperatorsDesk(rig.client).decide(placed.order_id, "inventory.commit", Retry())


async def test_bulk_places_the_others_beside_an_order_that_was_placed_under_another_key(rig: Rig) -> None:
    sealed, other = an_order(), an_order()
    client = await rig.with_another_key()
    await rig.waits("OrderWorkflow", sealed.transaction_id, sealed, client=client)
    placing = place_many(Orders(rig.client), [sealed, other], Mode.SAGA, 2)
    groups = [group async for placed in placing for group in placed.groups]
    ends = {order_id: log for group in groups for order_id, log in group.logs()}
    assert ends[other.order_id].state is State.CONFIRMED
    error = ends[sealed.order_id].error
    assert error is not None
    assert (ends[sealed.order_id].state, error.code) == (State.RUNNING, "UNREADABLE")
    await rig.terminate(sealed.transaction_id)
