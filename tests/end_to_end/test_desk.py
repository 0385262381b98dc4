"""Parked calls: the desk lists them, and an operator retries, fixes or skips them."""

import json
import re
import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest

from ..eventually import eventually
from ..orders import line
from .conftest import Make
from .system import System

pytestmark = pytest.mark.xdist_group("desk")


STUCK = '{transaction = "order/*-stuck", operation = "payment.cancel", kind = "refuse", code = "PAYMENT_DECLINED"}'
DOWN = '{transaction = "order/*-down", operation = "payment.cancel", kind = "refuse", code = "SERVICE_UNAVAILABLE"}'


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A system for all tests of this module: the orders `*-stuck` and `*-down` cannot give their money back."""
    folder = tmp_path_factory.mktemp("desk")
    (folder / "faults.toml").write_text(f"fault = [{STUCK}, {DOWN}]")
    running = System(folder, ["--faults", str(folder / "faults.toml")])
    running.start()
    running.run("stock", "set", "RARE-1", "0")
    yield running
    assert running.stop() == 0


def _repair(desk: System) -> None:
    """Restart the system without the fault of the orders `*-down`."""
    (desk.folder / "faults.toml").write_text(f"fault = [{STUCK}]")
    desk.stop()
    desk.start()


def _sold_out(order: Make, suffix: str = "stuck") -> dict[str, Any]:
    return order(suffix, lines=line("RARE-1"))


def _parked(desk: System, order_id: str) -> list[dict[str, Any]]:
    def calls() -> list[dict[str, Any]]:
        return [call for call in desk.run("desk", "list", "--json").document if call["order_id"] == order_id]

    return eventually(calls, "visibility knows of a parked call")


def test_a_parked_undo_is_seen_and_retried_when_the_service_is_back(desk: System, order: Make) -> None:
    placed = _sold_out(order, "down")
    answer = desk.place(placed)
    assert answer.code == 4
    assert answer.document["state"] == "PARKED"
    undone = {e["step"]: e["status"] for e in answer.document["steps"] if e["kind"] == "undo"}
    assert undone == {"payment.cancel": "PARKED", "shipping.cancel": "DONE", "order.cancel": "DONE"}
    [call] = _parked(desk, placed["order_id"])
    assert (call["order_id"], call["step"], call["kind"]) == (placed["order_id"], "payment.cancel", "undo")
    assert call["error"] == {"code": "SERVICE_UNAVAILABLE", "message": "injected: the service says no"}
    assert call["since"] < call["next_attempt_at"]
    _is_shown_in_words(desk, placed["order_id"])
    shown = desk.run("desk", "show", placed["order_id"], "payment.cancel", "--json").document
    assert (shown["request"]["amount_minor"], shown["original"], shown["decisions"]) == (500, shown["request"], [])
    assert desk.run("desk", "retry", placed["order_id"], "payment.capture").code == 2
    assert desk.run("desk", "log", placed["order_id"], "--json").document == []

    _repair(desk)
    assert desk.run("desk", "retry", "--all", "--code", "OTHER", "--json").document == {"accepted": 0}
    assert desk.run("desk", "retry", "--all", "--code", "SERVICE_UNAVAILABLE", "--json").document["accepted"] <= 1
    ended = desk.place(placed)
    assert (ended.code, ended.document["state"]) == (1, "ROLLED_BACK")
    assert desk.run("audit").code == 0


def _is_shown_in_words(desk: System, order_id: str) -> None:
    """The list for people has the cause, the age, the command and the page of the Web UI, each on a whole line."""
    lines = desk.run("desk", "list").out.splitlines()
    at = lines.index(f"{order_id} payment.cancel (undo)")
    assert lines[at + 1] == "  SERVICE_UNAVAILABLE: injected: the service says no"
    assert re.fullmatch(r"  parked for [\d.]+ s, \d attempts?, (next at|being tried since) [-\d: ]+ UTC", lines[at + 2])
    assert lines[at + 3] == f"  starter.py desk retry {order_id} payment.cancel"
    page = f"http://127.0.0.1:{desk.ui_port}/namespaces/default/workflows?query=SagaState%3D%22PARKED%22"
    assert lines[-1] == page


def test_a_skip_is_reported_for_ever_and_accepted_once(desk: System, order: Make) -> None:
    skipped = []
    for way in ([], ["--mode", "choreography"]):
        placed = _sold_out(order)
        skipped.append(placed["order_id"])
        assert desk.place(placed, *way).document["state"] == "PARKED"
        skip = ["desk", "skip", placed["order_id"], "payment.cancel", "--reason", "paid back by hand", "--actor", "ann"]
        assert desk.run(*skip, "--request-id", "r-1").code == 0
        ended = desk.place(placed, *way)
        assert (ended.code, ended.document["state"]) == (1, "ROLLED_BACK_WITH_SKIPS")
        [entry] = [entry for entry in ended.document["steps"] if entry["status"] == "SKIPPED"]
        assert entry["note"] == "skipped by ann: paid back by hand"
        assert desk.run(*skip).code == 2
    _audit_knows(desk, skipped)
    with sqlite3.connect(desk.folder / "order.db") as orders:
        assert orders.execute("SELECT count(*) FROM skips").fetchall() == [(0,)]
    assert desk.run("sweep").code == 0
    with sqlite3.connect(desk.folder / "order.db") as orders:
        assert orders.execute("SELECT count(*) FROM skips").fetchall() == [(2,)]

    with sqlite3.connect(desk.folder / "payment.db") as payments:  # a violation after the skip is still one
        payments.execute("UPDATE payments SET state = 'CAPTURED' WHERE transaction_id = ?", (f"order/{skipped[0]}",))
    audit = desk.run("audit", "--json")
    assert audit.code == 5
    assert skipped[0] in {violation["subject"] for violation in audit.document["violations"]}
    assert [known["subject"] for known in audit.document["skips"]] == skipped[1:]
    assert f"known: {skipped[1]}: payment.cancel skipped by ann at " in desk.run("audit").out
    with sqlite3.connect(desk.folder / "payment.db") as payments:
        payments.execute("UPDATE payments SET state = 'AUTHORIZED' WHERE transaction_id = ?", (f"order/{skipped[0]}",))


def _audit_knows(desk: System, skipped: list[str]) -> None:
    """The audit lists what was skipped, with the decision, and not as a violation."""
    audit = desk.run("audit", "--json")
    assert (audit.code, audit.document["violations"]) == (0, [])
    known = {known["subject"]: known for known in audit.document["skips"]}
    assert known.keys() == set(skipped)
    for each in known.values():
        assert (each["step"], each["actor"], each["reason"]) == ("payment.cancel", "ann", "paid back by hand")
        assert each["figures"]["payment"] == "AUTHORIZED"


WRONG = {
    '{"amount_minor": "500"}': "amount_minor: ",
    '{"amount": 500}': "amount: ",
    '{"order_id": "o-other"}': "must be one of order",
}


def test_a_fixed_request_is_tried_at_once_and_must_be_of_the_same_transaction(desk: System, order: Make) -> None:
    placed = _sold_out(order)
    desk.place(placed)
    request = {"transaction_id": "order/another", "order_id": placed["order_id"], "customer_id": "c-1"}
    request |= {"amount_minor": 500, "currency": "EUR"}
    fix = ["desk", "fix", placed["order_id"], "payment.cancel", "--input", "-", "--actor", "ann"]
    assert desk.run(*fix, stdin=json.dumps(request)).code == 2
    request["transaction_id"] = f"order/{placed['order_id']}"
    for change, field in WRONG.items():
        refused = desk.run(*fix, "--json", stdin=json.dumps(request | json.loads(change)))
        assert (refused.code, refused.err.count("\n")) == (2, 1)
        assert field in refused.document["error"]["message"]
    assert desk.run(*fix, stdin=json.dumps(request)).code == 0
    shown = desk.run("desk", "show", placed["order_id"], "payment.cancel").out
    assert "fix by ann" in shown

    def fixed_call() -> dict[str, Any]:
        log = desk.run("status", placed["order_id"], "--json").document
        [call] = [entry for entry in log["steps"] if entry["step"] == "payment.cancel"]
        return dict(call)

    fixed = eventually(fixed_call, "the fixed request is tried", until=lambda call: call["attempts"] >= 2)
    assert (fixed["status"], fixed["note"]) == ("PARKED", "request replaced by ann")


def test_decisions_are_logged_with_who_when_what_and_why_also_of_an_order_that_has_ended(
    desk: System, order: Make
) -> None:
    placed = _sold_out(order)
    order_id = placed["order_id"]
    assert desk.place(placed).document["state"] == "PARKED"
    about, why = [order_id, "payment.cancel"], "the bank says that it works again"
    assert desk.run("desk", "retry", *about, "--actor", "eve", "--reason", why, LOGNAME="nobody").code == 0
    _until_tried_again(desk, order_id)
    assert desk.run("desk", "retry", *about, LOGNAME="bob").code == 0
    _until_tried_again(desk, order_id, attempts=3)
    assert desk.run("desk", "skip", *about, "--actor", "ann", "--reason", "paid back by hand").code == 0
    assert desk.place(placed).document["state"] == "ROLLED_BACK_WITH_SKIPS"
    logged = desk.run("desk", "log", order_id, "--json").document
    told = [(each["decision"], each["actor"], each["reason"]) for each in logged]
    assert told == [("skip", "ann", "paid back by hand"), ("retry", "bob", None), ("retry", "eve", why)]
    assert {(each["order_id"], each["step"]) for each in logged} == {(order_id, "payment.cancel")}
    assert [each["at"] for each in logged] == sorted((each["at"] for each in logged), reverse=True)

    def latest() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = desk.run("desk", "log", "--limit", "3", "--json").document
        return found

    eventually(latest, "visibility finds the latest decisions", until=lambda found: found == logged)
    shown = desk.run("desk", "log", order_id).out.splitlines()
    assert shown[0].endswith(f"Z {order_id} payment.cancel: skip by ann: paid back by hand")
    assert desk.run("desk", "log", "no-such-order", "--json").document["error"]["code"] == "UNKNOWN_ORDER"
    assert desk.run("desk", "log", "no'such").code == 2


def _until_tried_again(desk: System, order_id: str, attempts: int = 2) -> None:
    def tried() -> bool:
        [call] = [each for each in desk.run("desk", "list", "--json").document if each["order_id"] == order_id]
        return bool(call["attempts"] >= attempts and call["trying_since"] is None)

    eventually(tried, "the call is tried again")


def test_a_stock_or_an_account_that_falls_far_and_a_redo_of_a_whole_order_are_asked_for_first(
    desk: System, order: Make
) -> None:
    assert desk.run("stock", "set", "FALLS-1", "100").code == 0
    asked = desk.run("stock", "set", "FALLS-1", "49", "--json")
    assert (asked.code, asked.document["error"]["code"]) == (2, "USAGE")
    assert "FALLS-1 has 100 on hand and 0 reserved, and 49 is far less" in asked.err
    assert desk.run("stock", "set", "FALLS-1", "50").code == 0
    assert desk.run("account", "set", "c-falls", "100").code == 0
    asked = desk.run("account", "set", "c-falls", "49")
    assert (asked.code, asked.out) == (2, "")
    assert "c-falls has 100 minor units and 0 held, and 49 is far less: nothing was changed" in asked.err
    assert desk.run("account", "set", "c-falls", "1", "--yes").code == 0
    placed = order()
    assert desk.place(placed).document["state"] == "CONFIRMED"
    whole = desk.run("redo", placed["order_id"])
    told = f"error: {placed['order_id']} is CONFIRMED, and the audit finds nothing wrong with it: nothing was changed"
    assert (whole.code, whole.err) == (2, f"{told}; --yes does it\n")
    assert desk.run("redo", placed["order_id"], "--yes").code == 0
