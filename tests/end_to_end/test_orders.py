"""Orders placed through the command line, with every kind of end; the audit is clean after them."""

import json
from typing import Any

import pytest

from activities.catalogue import SERVICES
from contracts.order import NotificationMode

from ..eventually import eventually
from ..orders import BOUNCES, REQUIRED, SOUTH_POLE, line
from ..roles import calls_in
from .conftest import Make
from .system import System

pytestmark = pytest.mark.xdist_group("system")


@pytest.fixture(scope="module", autouse=True)
def _books_balance_at_the_end(system: System) -> Any:
    system.run("stock", "set", "RARE-1", "0")
    system.run("account", "set", "c-poor", "1")
    yield
    answer = system.run("audit", "--json")
    assert answer.code == 0, answer.out
    assert answer.document["clean"]
    assert answer.document["orders"] > 0


REFUSALS = {
    "an unknown customer": ("o", {"customer_id": "c-none"}, "PAYMENT_DECLINED", "payment.authorize"),
    "an account in another currency": ("o", {"currency": "USD"}, "PAYMENT_DECLINED", "payment.authorize"),
    "too little money": ("o", {"customer_id": "c-poor"}, "INSUFFICIENT_FUNDS", "payment.authorize"),
    "nothing left": ("o", {"lines": line("RARE-1")}, "OUT_OF_STOCK", "inventory.reserve"),
    "an unknown sku": ("o", {"lines": line("UNICORN-1")}, "UNKNOWN_SKU", "inventory.reserve"),
    "a country without courier": ("o", {"ship_to": SOUTH_POLE}, "SHIPPING_UNAVAILABLE", "shipping.schedule"),
    "a required mail that bounces": ("o", BOUNCES, "NOTIFICATION_FAILED", "notification.send_confirmation"),
    "a service that is down": ("down", {}, "SERVICE_UNAVAILABLE", "inventory.reserve"),
    "a deadline too short": ("late", {"deadline_s": 1}, "DEADLINE_EXCEEDED", None),
}


_HANDLED = [handler.operation for service in SERVICES.values() for handler in service.handlers]
UNDO_OF = {operation.undoes.name: operation.name for operation in _HANDLED if operation.undoes is not None}


@pytest.mark.parametrize(("suffix", "changes", "code", "step"), REFUSALS.values(), ids=REFUSALS.keys())
def test_a_refused_order_is_rolled_back_and_names_the_step_and_the_code(
    system: System, order: Make, suffix: str, changes: dict[str, Any], code: str, step: str | None
) -> None:
    answer = system.place(order(suffix, **changes))
    assert answer.code == 1, answer
    assert answer.document["state"] == "ROLLED_BACK"
    error = answer.document["error"]
    assert (error["code"], error["step"]) == (code, step)
    undone = {entry["step"] for entry in answer.document["steps"] if entry["kind"] == "undo"}
    calls = [entry for entry in answer.document["steps"] if entry["kind"] == "step" and entry["status"] != "REFUSED"]
    assert {UNDO_OF[entry["step"]] for entry in calls} <= undone


def test_an_order_is_confirmed_and_its_log_tells_every_step(system: System, order: Make) -> None:
    answer = system.place(order())
    assert answer.code == 0, answer
    document = answer.document
    assert document["state"] == "CONFIRMED"
    assert document["error"] is None
    planned = [operation.name for operation in calls_in(NotificationMode.BEST_EFFORT)]
    assert [entry["step"] for entry in document["steps"]] == planned
    assert {entry["status"] for entry in document["steps"]} == {"DONE"}
    assert all(entry["ended_at"].endswith("Z") for entry in document["steps"])


def test_a_required_notification_is_the_last_step_before_the_pivot(system: System, order: Make) -> None:
    steps = [entry["step"] for entry in system.place(order(notification="required")).document["steps"]]
    assert steps[steps.index("order.confirm") - 1] == "notification.send_confirmation"


def test_independent_steps_run_side_by_side(system: System, order: Make) -> None:
    started = {entry["step"]: entry["started_at"] for entry in system.place(order()).document["steps"]}
    assert started["payment.authorize"] == started["inventory.reserve"]
    assert started["payment.capture"] == started["inventory.commit"] == started["shipping.dispatch"]


@pytest.mark.parametrize(
    ("changes", "code", "spent"), [(REQUIRED, 0, 2 * 1299), (BOUNCES, 1, 0)], ids=["confirmed", "rolled back"]
)
def test_lost_replies_take_effect_once(
    system: System, order: Make, changes: dict[str, Any], code: int, spent: int
) -> None:
    """The first reply of every step, or of every step before the last one and of every undo, is lost."""
    before = _held_and_spent(system)
    answer = system.place(order("lost", **changes))
    assert answer.code == code, answer
    assert min(entry["attempts"] for entry in answer.document["steps"] if entry["status"] == "DONE") >= 2
    assert _held_and_spent(system) - before == spent


def _held_and_spent(system: System) -> int:
    accounts = {account["customer_id"]: account for account in system.run("account", "list", "--json").document}
    return 10**11 - int(accounts["c-1"]["balance_minor"]) + int(accounts["c-1"]["held_minor"])


def test_an_order_placed_twice_gives_the_first_outcome_and_another_under_its_id_is_refused(
    system: System, order: Make
) -> None:
    placed = order()
    first, second = system.place(placed), system.place(placed)
    assert (first.code, second.code) == (0, 0)
    assert first.document == second.document
    other = system.place(placed | {"customer_id": "c-2"})
    assert (other.code, other.document["error"]["code"]) == (2, "DUPLICATE_ORDER")


def test_an_order_can_be_cancelled_before_the_pivot(system: System, order: Make) -> None:
    placed = order("slow")
    assert system.place(placed, "--no-wait").code == 0
    cancelled = system.run("cancel", placed["order_id"], "--reason", "changed my mind", "--json")
    assert cancelled.code == 0, cancelled
    assert cancelled.document["accepted"]
    assert system.run("cancel", f"order/{placed['order_id']}", "--reason", "again").code == 0
    ended = system.place(placed)
    assert ended.code == 1
    assert ended.document["error"]["code"] == "CANCELLED"
    assert ended.document["error"]["message"] == "changed my mind"


def test_cancelling_is_refused_from_the_pivot_on(system: System, order: Make) -> None:
    placed = order("stuck")
    system.place(placed, "--no-wait")

    def steps() -> list[str]:
        return [entry["step"] for entry in system.run("status", placed["order_id"], "--json").document["steps"]]

    eventually(steps, "the pivot is asked for", until=lambda names: "order.confirm" in names)
    refused = system.run("cancel", placed["order_id"], "--reason", "too late", "--json")
    assert refused.code == 2
    assert refused.document["error"]["code"] == "CANCEL_REFUSED"
    assert system.place(placed).code == 0
    assert system.run("cancel", placed["order_id"], "--reason", "far too late", "--json").code == 2


def test_many_orders_for_few_units_are_never_oversold(system: System, order: Make) -> None:
    system.run("stock", "set", "SCARCE-1", "2")
    orders = [order(lines=line("SCARCE-1")) for _ in range(6)]
    answer = system.run("bulk", "-", "--json", "--concurrency", "6", stdin="\n".join(map(json.dumps, orders)))
    assert answer.code == 0, answer
    assert answer.document["states"] == {"CONFIRMED": 2, "ROLLED_BACK": 4}
    assert answer.document["errors"] == {"OUT_OF_STOCK": 4}
    stock = {level["sku"]: level for level in system.run("stock", "list", "--json").document}
    assert (stock["SCARCE-1"]["on_hand"], stock["SCARCE-1"]["reserved"]) == (0, 0)


def test_bulk_brings_every_order_to_an_end_under_faults_and_sums_up(system: System) -> None:
    answer = system.run("bulk", "--count", "12", "--concurrency", "12", "--json", "--outcomes")
    assert answer.code == 0, answer
    summary = answer.document
    assert summary["orders"] == 12
    assert sum(summary["states"].values()) == 12
    assert len(summary["outcomes"]) == 12
    assert summary["latency_ms"]["p50"] <= summary["latency_ms"]["p99"]
    assert {type(milliseconds) for milliseconds in summary["latency_ms"].values()} == {int}
    attempts = [entry["attempts"] for outcome in summary["outcomes"] for entry in outcome["steps"]]
    assert max(attempts) > 1  # the injected faults did strike


def test_orders_are_listed_by_state(system: System, order: Make) -> None:
    for state, code, placed in [
        ("ROLLED_BACK", "PAYMENT_DECLINED", order(customer_id="c-none")),
        ("CONFIRMED", None, order()),
    ]:
        system.place(placed)

        def listed(state: str = state, order_id: str = placed["order_id"]) -> list[dict[str, Any]]:
            rows: list[dict[str, Any]] = system.run("list", "--state", state, "--limit", "100", "--json").document
            assert {row["state"] for row in rows} <= {state}
            return [row for row in rows if row["order_id"] == order_id]

        [found] = eventually(listed, "visibility knows the end")
        assert found["error_code"] == code
        assert found["ended_at"] is not None


def test_a_colocated_order_ends_as_any_other_and_undoes_what_was_never_seen_to_begin(
    system: System, order: Make
) -> None:
    confirmed = system.place(order(), "--mode", "colocated")
    assert (confirmed.code, confirmed.document["state"]) == (0, "CONFIRMED")
    unknown = order(lines=[{"sku": "UNICORN-1", "quantity": 1, "unit_price_minor": 1}], notification="required")
    refused = system.place(unknown, "--mode", "colocated")
    assert (refused.code, refused.document["error"]["code"]) == (1, "UNKNOWN_SKU")
    steps = {(step["step"], step["kind"]): step["status"] for step in refused.document["steps"]}
    assert ("notification.send_confirmation", "step") not in steps
    assert steps["notification.send_cancellation", "undo"] == "DONE"


def test_place_can_return_at_the_decision(system: System, order: Make) -> None:
    captured_later = order("later")
    decided = system.place(captured_later, "--until", "confirmed")
    assert (decided.code, decided.document["state"]) == (0, "CONFIRMED")
    assert system.run("status", captured_later["order_id"], "--json").document["state"] == "RUNNING"
    refused = system.place(order(customer_id="c-none"), "--until", "confirmed")
    assert (refused.code, refused.document["state"]) == (1, "ROLLED_BACK")
    placed = order()
    for wrong in (["--until", "shipped"], ["--until", "confirmed", "--no-wait"]):
        assert system.place(placed, *wrong).code == 2
    assert system.run("status", placed["order_id"]).code == 2
