"""One item that cannot be read or undone ends no round: it is named and counted, and the others are looked after."""

from __future__ import annotations

import base64
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client, WorkflowFailureError

from activities.catalogue import SERVICES
from audit.run import audit
from client.bulk import place_many
from client.orders import Mode, Orders
from contracts import inventory, payment
from contracts.recovery import Swept
from runtime import connection
from runtime.connection import Unreachable
from runtime.execute import execute
from runtime.faults import Fault, FaultKind
from runtime.settings import Settings
from temporal_saga import State

from .rig import Rig, an_order, charge_of, goods_of, name

pytestmark = [pytest.mark.xdist_group("recovery"), pytest.mark.asyncio(loop_scope="package")]


def _codes(swept: Swept) -> dict[str, str]:
    return {failure.id: failure.code for failure in swept.failures}


async def _with_another_key(system: Rig) -> Client:
    key = base64.urlsafe_b64encode(b"k" * 32).decode()
    return await connection.connect(Settings(payload_key=key), address=system.address)


async def test_an_order_whose_history_cannot_be_read_is_named_and_the_others_are_rolled_back(system: Rig) -> None:
    sealed, lost = an_order(), an_order()
    client = await _with_another_key(system)
    document = sealed.model_dump(mode="json")
    await system.never_runs("OrderWorkflow", sealed.transaction_id, document, client=client)
    await system.lost(lost)
    swept = await system.sweep()
    assert lost.order_id in swept.orders
    assert _codes(swept)[sealed.transaction_id] == "UNREADABLE"
    assert swept.failed >= 1


async def test_an_audit_of_a_locked_database_does_not_advise_to_look_for_another(
    system: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("activities.sqlite.BUSY_TIMEOUT_S", 0.2)
    for service in SERVICES:
        with closing(sqlite3.connect(system.folder / f"{service}.db")) as database:
            database.execute("VACUUM INTO ?", [str(tmp_path / f"{service}.db")])
    copies = Settings(database_url=f"sqlite+aiosqlite:///{tmp_path}/{{service}}.db")
    with closing(sqlite3.connect(tmp_path / "payment.db")) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(Unreachable, match=r"database is locked; it is busy: try again$"):
            await audit(system.client, copies)
    (tmp_path / "payment.db").unlink()
    with pytest.raises(Unreachable, match=r"set DATABASE_URL, or start `python worker.py`$"):
        await audit(system.client, copies)


@pytest.mark.parametrize("document", [{"no": "order"}, an_order().model_dump(mode="json"), None, "text"])
async def test_what_is_no_order_of_its_workflow_is_named(system: Rig, document: Any) -> None:
    other = an_order()
    await system.never_runs("OrderWorkflow", other.transaction_id, document)
    assert _codes(await system.sweep())[other.transaction_id] == "INVALID_ORDER"
    ended = await system.start("OrderWorkflow", other.transaction_id, document)
    with pytest.raises(WorkflowFailureError):
        await ended.result()
    assert other.transaction_id not in _codes(await system.sweep())


async def test_a_workflow_that_can_be_no_orders_is_passed_by(system: Rig) -> None:
    for workflow_id in ("order/not an id", "somebody's", f"order/{'x' * 100}"):
        await system.never_runs("OrderWorkflow", workflow_id, an_order().model_dump(mode="json"))
    lost = an_order()
    await system.lost(lost)
    assert lost.order_id in (await system.sweep()).orders


async def test_a_document_on_record_that_is_refused_now_is_named_and_the_others_are_rolled_back(system: Rig) -> None:
    refused, lost = an_order(), an_order()
    await system.lost(refused)
    await system.lost(lost)
    document = json.loads(
        system.rows("order", "SELECT document FROM orders WHERE order_id = ?", refused.order_id)[0][0]
    )
    document["lines"][0]["quantity"] = 0
    system.rows("order", "UPDATE orders SET document = ? WHERE order_id = ?", json.dumps(document), refused.order_id)
    swept = await system.sweep()
    assert lost.order_id in swept.orders
    assert _codes(swept)[refused.transaction_id] == "UNREADABLE"
    system.rows(
        "order", "UPDATE orders SET document = ? WHERE order_id = ?", refused.model_dump_json(), refused.order_id
    )
    assert refused.order_id in (await system.sweep()).orders


async def test_a_service_that_does_not_answer_is_named_and_the_others_are_asked(system: Rig) -> None:
    lost = an_order()
    await system.lost(lost)
    system.faults.append(Fault(operation="payment.list_*", kind=FaultKind.REFUSE))
    swept = await system.sweep()
    system.faults.clear()
    assert lost.order_id in swept.orders
    codes = _codes(swept)
    assert (codes["payment.list_open"], codes["payment.list_expired"]) == ("SERVICE_UNAVAILABLE",) * 2


async def test_an_order_that_has_no_end_yet_is_named(system: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recovery.orders.FINISH_TIMEOUT_S", 0.5)
    lost = an_order()
    await system.lost(lost)
    system.faults.append(Fault(operation="payment.cancel", transaction=lost.transaction_id, kind=FaultKind.REFUSE))
    swept = await system.sweep()
    system.faults.clear()
    assert swept.unfinished == (lost.transaction_id,)
    assert swept.finished == swept.found - 1
    await system.client.get_workflow_handle(lost.transaction_id).execute_update("desk_retry", "payment.cancel")


async def test_leases_end_beyond_the_first_page_and_beside_one_that_cannot_be_read_or_undone(system: Rig) -> None:
    lost = [name("lost") for _ in range(5)]
    sick, stuck = name("sick"), name("stuck")
    for transaction in (*lost, sick, stuck):
        await execute(system.client, inventory.reserve, goods_of(transaction))
        await execute(system.client, payment.authorize, charge_of(transaction))
    system.let_leases_pass(*lost, sick, stuck)
    system.rows("inventory", "UPDATE reservations SET quantity = 20000 WHERE transaction_id = ?", sick)
    system.rows("payment", "UPDATE payments SET currency = 'XXX' WHERE transaction_id = ?", sick)
    system.faults.append(Fault(operation="inventory.release", transaction=stuck, kind=FaultKind.REFUSE))
    swept = await system.sweep(page=2)
    system.faults.clear()
    assert swept.leases_ended == 2 * len(lost) + 1
    assert {system.state("inventory", each) for each in lost} == {"RELEASED"}
    assert {system.state("payment", each) for each in (*lost, stuck)} == {"CANCELLED"}
    codes = _codes(swept)
    assert (codes[sick], codes[stuck]) == ("UNREADABLE", "SERVICE_UNAVAILABLE")
    system.rows("inventory", "UPDATE reservations SET quantity = 2 WHERE transaction_id = ?", sick)
    system.rows("payment", "UPDATE payments SET currency = 'EUR' WHERE transaction_id = ?", sick)
    assert (await system.sweep()).leases_ended == 3


async def test_no_lease_ends_while_the_order_service_cannot_say_whose_it_is(system: Rig) -> None:
    lost = an_order()
    await system.lost(lost)
    system.let_leases_pass(lost.transaction_id)
    system.faults.append(Fault(operation="order.read_orders", kind=FaultKind.REFUSE))
    swept = await system.sweep()
    system.faults.clear()
    assert (swept.found, swept.leases_ended) == (0, 0)
    assert system.state("payment", lost.transaction_id) == "AUTHORIZED"
    assert lost.order_id in (await system.sweep()).orders


async def test_bulk_places_the_others_beside_an_order_that_was_placed_under_another_key(system: Rig) -> None:
    sealed, other = an_order(), an_order()
    client = await _with_another_key(system)
    document = sealed.model_dump(mode="json")
    await system.waits("OrderWorkflow", sealed.transaction_id, document, client=client)
    placing = place_many(Orders(system.client), [sealed, other], Mode.SAGA, 2)
    groups = [group async for placed in placing for group in placed.groups]
    ends = {order_id: log for group in groups for order_id, log in group.logs()}
    assert ends[other.order_id].state is State.CONFIRMED
    error = ends[sealed.order_id].error
    assert error is not None
    assert (ends[sealed.order_id].state, error.code) == (State.RUNNING, "UNREADABLE")
    await system.terminate(sealed.transaction_id)
