"""Wrong input and missing dependencies: an error of one line, the documented exit code, and no effect."""

import json
import urllib.request
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from temporalio.client import Client, WorkflowFailureError
from temporalio.exceptions import ApplicationError

from cli import documents
from client import updates
from client.errors import NotAnswered
from contracts.errors import Code
from contracts.order import NotificationMode
from runtime.commandline import CommandFailed

from ..roles import calls_in
from .conftest import Make
from .system import System

pytestmark = pytest.mark.xdist_group("system")


WRONG = {
    "an id with a slash": ({"order_id": "a/b"}, "order_id"),
    "an id of 10,000 characters": ({"order_id": "a" * 10_000}, "order_id"),
    "an empty id": ({"order_id": ""}, "order_id"),
    "an unknown field": ({"discount": 3}, "discount"),
    "no lines": ({"lines": []}, "lines"),
    "10,000 lines": (
        {"lines": [{"sku": f"S-{n}", "quantity": 1, "unit_price_minor": 1} for n in range(10_000)]},
        "lines",
    ),
    "the same sku twice": ({"lines": [{"sku": "BOOK-1", "quantity": 1, "unit_price_minor": 1}] * 2}, "BOOK-1"),
    "no units": ({"lines": [{"sku": "BOOK-1", "quantity": 0, "unit_price_minor": 1}]}, "quantity"),
    "half a unit": ({"lines": [{"sku": "BOOK-1", "quantity": 0.5, "unit_price_minor": 1}]}, "quantity"),
    "a quantity in words": ({"lines": [{"sku": "BOOK-1", "quantity": "2", "unit_price_minor": 1}]}, "quantity"),
    "a negative price": ({"lines": [{"sku": "BOOK-1", "quantity": 1, "unit_price_minor": -1}]}, "unit_price_minor"),
    "no such currency": ({"currency": "EURO"}, "currency"),
    "no e-mail address": ({"contact": {"email": "ada", "phone": "+442071234567"}}, "email"),
    "no phone number": ({"contact": {"email": "ada@example.com", "phone": "0800"}}, "phone"),
    "no such mode": ({"notification": "maybe"}, "notification"),
    "no time at all": ({"deadline_s": 0}, "deadline_s"),
    "a blank name": ({"ship_to": {"name": " ", "street": "x", "city": "x", "postcode": "1", "country": "DE"}}, "name"),
}


@pytest.mark.parametrize(("changes", "named"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_order_is_refused_with_one_line_that_names_the_field(
    tmp_path: Path, order: Make, changes: dict[str, Any], named: str
) -> None:
    (tmp_path / "order.json").write_text(json.dumps(order(**changes)))
    with pytest.raises(CommandFailed) as refused:
        documents.read_order(str(tmp_path / "order.json"))
    assert refused.value.code == "INVALID_ORDER"
    assert named in str(refused.value)
    assert "\n" not in str(refused.value)


COMMANDS: dict[str, tuple[list[str], str]] = {
    "no command": ([], "command"),
    "an unknown command": (["frobnicate"], "frobnicate"),
    "an unknown option": (["list", "--colour"], "--colour"),
    "no order at all": (["place"], "--item"),
    "both a file and items": (["place", "-", "--item", "BOOK-1:1"], "--item"),
    "a file that is not there": (["place", "nowhere.json"], "nowhere.json"),
    "an item without quantity": (["place", "--item", "BOOK-1"], "SKU:QUANTITY"),
    "malformed JSON": (["place", "-"], "not JSON"),
    "a lane and none": (["transaction", "-", "--lane", "a", "--concurrent"], "leave one out"),
    "an item of too many": (["place", "--item", "BOOK-1:" + "1" * 5_000], "SKU:QUANTITY"),
    "an order that is not UTF-8": (["status", "\udcff"], "UTF-8"),
    "an empty list of orders": (["bulk", "-"], "no order"),
    "a batch size without batches": (["bulk", "--count", "1", "--batch-size", "5"], "--mode batch"),
    "an unknown mode": (["place", "--item", "BOOK-1:1", "--mode", "fast"], "--mode"),
    "one order as a batch": (["place", "--item", "BOOK-1:1", "--mode", "batch"], "bulk"),
    "an unknown state": (["list", "--state", "HAPPY"], "HAPPY"),
    "an unknown order": (["status", "no-such-order"], "no-such-order"),
    "an order id of 10,000 characters": (["status", "x" * 10_000], "no order"),
    "cancelling an unknown order": (["cancel", "no-such-order", "--reason", "x"], "no-such-order"),
    "a sku with a slash": (["stock", "set", "a/b", "3"], "sku"),
    "less than nothing": (["stock", "set", "BOOK-1", "--", "-3"], "on_hand"),
    "an amount in words": (["account", "set", "c-1", "much"], "AMOUNT_MINOR"),
}


@pytest.mark.parametrize(("arguments", "named"), COMMANDS.values(), ids=COMMANDS.keys())
def test_a_wrong_command_is_refused_with_one_line_that_says_what_to_do(
    system: System, arguments: list[str], named: str
) -> None:
    answer = system.run(*arguments)
    assert answer.code == 2
    assert answer.out == ""
    assert answer.err.startswith("error: ")
    assert answer.err.count("\n") == 1
    assert named in answer.err


MALFORMED = {
    "five thousand digits": '{"order_id": ' + "1" * 5_000 + "}",
    "a hundred thousand brackets": "[" * 100_000,
    "not a number": '{"order_id": NaN}',
    "half a surrogate pair": '{"order_id": "\\ud800"}',
}


@pytest.mark.parametrize("text", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_json_is_refused_with_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "order.json").write_text(text)
    with pytest.raises(CommandFailed, match="not JSON") as refused:
        documents.read_json(str(tmp_path / "order.json"), Code.INVALID_ORDER)
    assert "\n" not in str(refused.value)


def test_one_wrong_order_among_many_starts_none_of_them(system: System, order: Make) -> None:
    good, bad = order(), order(currency="EURO")
    answer = system.run("bulk", "-", stdin=json.dumps(good) + "\n" + json.dumps(bad))
    assert answer.code == 2
    assert "stdin:2: currency" in answer.err
    assert system.run("status", good["order_id"]).code == 2


def test_a_malformed_setting_is_an_error_that_names_the_variable(system: System) -> None:
    answer = system.run("list", PAYLOAD_KEY="short")
    assert answer.code == 2
    assert answer.err.startswith("error: PAYLOAD_KEY: ")
    assert answer.err.count("\n") == 1


def test_a_server_that_is_gone_is_said_with_exit_code_3(system: System) -> None:
    answer = system.run("list", "--json", TEMPORAL_ADDRESS="127.0.0.1:1")
    assert answer.code == 3
    assert answer.document["error"]["code"] == "UNREACHABLE"
    assert answer.err.count("\n") == 1


def test_a_namespace_that_is_not_there_is_an_error_that_names_the_variable(system: System) -> None:
    answer = system.run("list", TEMPORAL_NAMESPACE="nowhere")
    assert answer.code == 2
    assert answer.err.startswith("error: TEMPORAL_NAMESPACE: there is no 'nowhere' at 127.0.0.1:")
    assert answer.err.count("\n") == 1


async def test_a_workflow_that_no_worker_serves_is_told_as_asked(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(updates, "_UPDATE_TIMEOUT_S", 1)
    client = await Client.connect(f"127.0.0.1:{system.port}")
    handle = await client.start_workflow("Nobodys", id=f"nobodys-{uuid4().hex[:8]}", task_queue="nobody")
    with pytest.raises(NotAnswered, match="asked; no worker has answered within 1 s") as failed:
        await updates.update(client, handle.id, "cancel_order", ["changed my mind"])
    assert failed.value.code == "ASKED"
    await handle.terminate("nobody will")


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("place", "INVALID_ORDER"),
        ("transaction", "INVALID_TRANSACTION"),
        ("desk fix o-1 payment.cancel --actor ann --input", "INVALID_REQUEST"),
    ],
)
def test_a_file_that_is_not_there_is_said_with_the_code_of_what_it_should_hold(
    system: System, command: str, code: str
) -> None:
    answer = system.run(*command.split(), "nowhere.json", "--json")
    assert (answer.code, answer.document["error"]["code"]) == (2, code)
    assert answer.err == "error: nowhere.json: No such file or directory\n"


def test_a_database_that_is_gone_is_said_with_exit_code_3(system: System, tmp_path: Path) -> None:
    answer = system.run("audit", DATABASE_URL=f"sqlite+aiosqlite:///{tmp_path}/none/{{service}}.db")
    assert answer.code == 3
    assert "cannot be read" in answer.err
    assert not (tmp_path / "none").exists()


def test_the_web_ui_is_served(system: System) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{system.ui_port}", timeout=10) as page:
        assert page.status == 200


@pytest.mark.parametrize("document", [None, "hello", [], {"order_id": "x"}])
async def test_a_workflow_started_by_another_client_checks_its_input_too(system: System, document: Any) -> None:
    client = await Client.connect(f"127.0.0.1:{system.port}")
    with pytest.raises(WorkflowFailureError) as failure:
        await client.execute_workflow("OrderWorkflow", document, id=f"other/{document}", task_queue="orders")
    assert isinstance(failure.value.cause, ApplicationError)
    assert failure.value.cause.type == "INVALID_ORDER"


async def test_a_workflow_under_another_id_than_its_orders_is_refused(system: System, order: Make) -> None:
    client = await Client.connect(f"127.0.0.1:{system.port}")
    with pytest.raises(WorkflowFailureError) as failure:
        await client.execute_workflow("OrderWorkflow", order(), id="order/another", task_queue="orders")
    assert isinstance(failure.value.cause, ApplicationError)
    assert "one order, one workflow" in failure.value.cause.message


def test_every_log_line_of_an_operation_names_transaction_step_service_attempt_and_status(
    system: System, order: Make
) -> None:
    placed = order()
    system.place(placed)
    transaction = f"order/{placed['order_id']}"
    lines = [line for line in system.log_lines() if line.get("transaction_id") == transaction]
    by_event = {event: [line for line in lines if line["event"] == event] for event in ("operation", "step", "saga")}
    planned = sorted(operation.name for operation in calls_in(NotificationMode.BEST_EFFORT))
    assert len(by_event["operation"]) >= len(planned)
    assert sorted(line["step"] for line in by_event["step"]) == planned  # each step when it ends
    for line in by_event["operation"] + by_event["step"]:
        assert {"transaction_id", "step", "service", "attempt", "status", "timestamp", "level"} <= line.keys()
        assert line["timestamp"].endswith("Z")
    assert [line["status"] for line in by_event["saga"]] == ["CONFIRMED"]
