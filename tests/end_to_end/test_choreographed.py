"""Choreographed orders through the command line: the user sees one order, which ends as an orchestrated one does."""

import json
from typing import Any

import pytest
from temporalio.client import WorkflowFailureError

from client import handles
from client.engines.choreography import ChoreographyEngine
from client.orders import Orders
from contracts.choreography import PARTICIPANTS, Event, Fact
from contracts.order import NotificationMode, Order
from runtime import connection
from runtime.events import EventBus
from runtime.settings import Settings
from temporal_saga import CallKind, Status

from ..eventually import eventually, eventually_async
from ..orders import SOUTH_POLE
from ..roles import calls_in
from .conftest import Make
from .system import System

pytestmark = pytest.mark.xdist_group("another system")


@pytest.fixture(scope="module", autouse=True)
def _books_balance_at_the_end(system: System) -> Any:
    yield
    answer = system.run("audit", "--json")
    assert answer.code == 0, answer.out


def _calls(document: dict[str, Any], kind: str) -> set[str]:
    """The operations of the log, without the publishing of events."""
    return {entry["step"] for entry in document["steps"] if entry["kind"] == kind and ".publish." not in entry["step"]}


def test_a_choreographed_order_is_confirmed_and_seen_as_one(system: System, order: Make) -> None:
    placed = order()
    first = system.place(placed, "--mode", "choreography")
    assert (first.code, first.document["state"]) == (0, "CONFIRMED"), first
    for kind in (CallKind.STEP, CallKind.PIVOT, CallKind.FINISH):
        planned = {operation.name for operation in calls_in(NotificationMode.BEST_EFFORT, kind)}
        assert _calls(first.document, kind) == planned
    assert {entry["service"] for entry in first.document["steps"]} == set(PARTICIPANTS)

    for again in (system.place(placed, "--mode", "choreography"), system.run("status", placed["order_id"], "--json")):
        assert (again.code, again.document) == (0, first.document)
    assert system.run("cancel", placed["order_id"], "--reason", "too late").code == 2
    other = system.place(placed | {"customer_id": "c-2"}, "--mode", "choreography")
    assert (other.code, other.document["error"]["code"]) == (2, "DUPLICATE_ORDER")
    assert _listed(system, placed) == [("CONFIRMED", None)]


def _listed(system: System, placed: dict[str, Any]) -> list[tuple[str, str | None]]:
    def rows() -> list[tuple[str, str | None]]:
        listed = system.run("list", "--limit", "100", "--json").document
        return [(row["state"], row["error_code"]) for row in listed if row["order_id"] == placed["order_id"]]

    return eventually(rows, "visibility knows the end", until=lambda found: found and found[0][0] != "RUNNING")


async def test_every_event_of_an_order_leads_back_to_its_placing_and_one_attribute_finds_all_participants(
    system: System, order: Make
) -> None:
    placed = order()
    assert system.place(placed, "--mode", "choreography").code == 0
    transaction = f"order/{placed['order_id']}"
    heard = [line for line in system.log_lines() if line["event"] == "event" and line["transaction_id"] == transaction]
    assert {line["service"] for line in heard} == set(PARTICIPANTS)
    cause_of = {line["event_id"]: line["caused_by"] for line in heard}
    placing = f"{transaction}/{Fact.ORDER_PLACED}"
    assert cause_of.pop(placing) == ""
    for event_id, cause in cause_of.items():
        chain = [event_id]
        while cause != placing:
            assert cause not in chain
            chain.append(cause)
            cause = cause_of[cause]  # noqa: PLW2901 — the chain is walked upwards

    client = await connection.connect(Settings(), address=f"127.0.0.1:{system.port}")

    async def all_are_found() -> bool:
        return (await client.count_workflows(f"SagaOrder = '{placed['order_id']}'")).count == len(PARTICIPANTS)

    await eventually_async(all_are_found, "the participants are listed under their order")


def test_a_refused_choreographed_order_is_undone_by_every_service(system: System, order: Make) -> None:
    answer = system.place(order(ship_to=SOUTH_POLE), "--mode", "choreography")
    assert (answer.code, answer.document["state"]) == (1, "ROLLED_BACK"), answer
    error = answer.document["error"]
    assert (error["code"], error["step"]) == ("SHIPPING_UNAVAILABLE", "shipping.schedule")
    assert _calls(answer.document, "undo") >= {"payment.cancel", "inventory.release"}


def test_many_orders_by_choreography_each_come_to_their_own_end(system: System, order: Make) -> None:
    orders = [order(), order(ship_to=SOUTH_POLE)]
    lines = "\n".join(map(json.dumps, orders))
    answer = system.run("bulk", "-", "--mode", "choreography", "--outcomes", "--json", stdin=lines)
    assert answer.code == 0, answer
    assert answer.document["states"] == {"CONFIRMED": 1, "ROLLED_BACK": 1}
    assert answer.document["errors"] == {"SHIPPING_UNAVAILABLE": 1}
    for outcome in answer.document["outcomes"]:
        assert system.run("status", outcome["order_id"], "--json").document == outcome


def test_a_choreographed_order_is_cancelled_before_its_confirmation(system: System, order: Make) -> None:
    placed = order("hang")  # the courier does not answer
    system.place(placed, "--mode", "choreography", "--no-wait")
    accepted = system.run("cancel", placed["order_id"], "--reason", "changed my mind", "--json")
    assert (accepted.code, accepted.document["accepted"]) == (0, True), accepted
    ended = system.place(placed, "--mode", "choreography")
    assert (ended.code, ended.document["error"]["code"]) == (1, "CANCELLED")
    assert ended.document["error"]["message"] == "changed my mind"


@pytest.mark.parametrize(
    "intruder",
    [
        pytest.param(False, id="alone", marks=pytest.mark.long),
        pytest.param(True, id="with another order under its id", marks=pytest.mark.chaos),
    ],
)
async def test_the_sweep_resumes_a_choreography_whose_participants_were_all_terminated(
    system: System, order: Make, *, intruder: bool
) -> None:
    placed = order("slow")
    system.place(placed, "--mode", "choreography", "--no-wait")
    client = await connection.connect(Settings(), address=f"127.0.0.1:{system.port}")

    async def waits_for_the_courier() -> bool:
        steps = (await Orders(client).status(placed["order_id"])).log.steps
        told = {entry.step for entry in steps if entry.status is Status.DONE}
        published = {"payment.publish.PaymentAuthorized", "inventory.publish.StockReserved"}
        return published <= told and any(entry.step == "shipping.schedule" for entry in steps)

    # An event that is still being delivered would start a participant again.
    what = "stock and money are held and published, and the courier is slow"
    await eventually_async(waits_for_the_courier, what, pause_s=0.02)
    for service in ("order", "payment", "inventory", "shipping", "notification"):
        handle = ChoreographyEngine(client).handle_of(placed["order_id"], service)
        if await handles.status_of(client, handle.id) is not None:
            await handle.terminate("a slip of the hand")
    if intruder:
        other = Order.model_validate(placed | {"deadline_s": 30})
        said = Event(transaction_id=other.transaction_id, fact=Fact.ORDER_PLACED, order=other)
        await EventBus(client).tell(said, "order")
        with pytest.raises(WorkflowFailureError):
            await ChoreographyEngine(client).handle_of(placed["order_id"], "order").result()
    audit = system.run("audit", "--json")
    assert (audit.code, audit.document["checks"]["orphans"]) == (5, 1), audit

    swept = system.run("sweep", "--json").document
    assert (swept["found"], swept["finished"], swept["orders"]) == (1, 1, [placed["order_id"]])
    assert system.run("status", placed["order_id"], "--json").document["state"] == "CONFIRMED"
    assert system.run("sweep", "--json").document["found"] == 0
