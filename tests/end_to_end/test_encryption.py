"""With `PAYLOAD_KEY` Temporal stores nothing of what an order says, in whatever way the order ends."""

import asyncio
import base64
import json
import os
import subprocess
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from temporalio.api.failure.v1 import Failure
from temporalio.client import Client
from temporalio.exceptions import ApplicationError

from cli.documents import document
from contracts.ids import SCHEDULE_ID, SWEEP_WORKFLOW
from runtime import connection
from runtime.embedded import find_cli, free_port
from runtime.encryption import key_ids
from runtime.settings import Settings, SettingsError

from ..eventually import eventually, eventually_async
from ..orders import line
from .command import Answer
from .system import System

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("encryption")]

_FAULTS = """
fault = [
  {transaction = "order/*-parked", operation = "shipping.schedule", kind = "refuse"},
  {transaction = "order/*-parked", operation = "payment.cancel", kind = "refuse"},
  {transaction = "order/*-slow", operation = "shipping.schedule", kind = "delay", seconds = 4},
]
"""
_REASON, _ACTOR, _OPERATORS_REASON = "the customer wed elsewhere", "operator-hildegard", "refunded by cheque 88123"
_SECRETS = {
    "name": "Wilhelmina Quux",
    "street": "77 Zebedee Lane",
    "city": "Xanadu-upon-Wye",
    "postcode": "ZQ9 4XJ",
    "email": "wilhelmina@quux.example",
    "phone": "+447700900461",
    "customer": "kunde-wq-4711",
    "sku": "WIDGET-QX-9",
    "price": "8765432",
    "total": "78889",
    "reason": _REASON,
    "actor": _ACTOR,
    "operator's reason": _OPERATORS_REASON,
}
_QUANTITY = 9
_SECRETS["total"] = str(int(_SECRETS["price"]) * _QUANTITY)


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("encrypted")
    (folder / "faults.toml").write_text(_FAULTS)
    system = System(folder, ["--faults", str(folder / "faults.toml"), "--codec-port", str(free_port())])
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PAYLOAD_KEY", _key())
        system.start()
        assert system.run("stock", "set", _SECRETS["sku"], "1000").code == 0
        assert system.run("account", "set", _SECRETS["customer"], "1000000000").code == 0
        yield system
        system.stop()


def _key() -> str:
    return base64.urlsafe_b64encode(os.urandom(32)).decode()


def _secret_order(suffix: str, customer: str = _SECRETS["customer"]) -> dict[str, Any]:
    address = {field: _SECRETS[field] for field in ("name", "street", "city", "postcode")} | {"country": "GB"}
    contact = {field: _SECRETS[field] for field in ("email", "phone")}
    secret = {"sku": _SECRETS["sku"], "quantity": _QUANTITY, "unit_price_minor": int(_SECRETS["price"])}
    return document(f"t-{uuid4().hex[:8]}-{suffix}", customer, [secret]) | {"ship_to": address, "contact": contact}


@pytest.fixture(scope="module")
def ended(encrypted: System) -> dict[str, str]:
    """The ids of orders with every end in every mode; the messages of the refusals hold the customer's data."""
    system, poor = encrypted, f"{_SECRETS['customer']}-poor"
    orders = {name: _secret_order(name) for name in ("ok", "parked", "slow", "batch")}
    orders |= {name: _secret_order(name, poor) for name in ("poor", "events")}
    assert system.place(orders["ok"]).code == 0
    assert "has no account" in system.place(orders["poor"]).out
    assert system.place(orders["events"], "--mode", "choreography").code == 1
    batch = [orders["batch"], *(_secret_order(f"batch-{at}", poor) for at in range(2))]
    bulk = system.run("bulk", "-", "--mode", "batch", stdin="\n".join(map(json.dumps, batch)))
    assert bulk.code == 0
    _cancel(system, orders["slow"])
    _park_and_skip(system, orders["parked"])
    charge = {"order_id": "t-secret", "customer_id": poor, "amount_minor": int(_SECRETS["total"]), "currency": "EUR"}
    step = {"name": "pay", "commit": "payment.authorize", "rollback": "payment.cancel", "input": charge}
    transaction = json.dumps({"transaction_id": "t-secret", "steps": [step]})
    assert system.run("transaction", "-", stdin=transaction).code == 1
    assert system.run("cancel", orders["ok"]["order_id"], "--reason", _REASON).code == 2
    return {name: order["order_id"] for name, order in orders.items()}


def _cancel(system: System, order: dict[str, Any]) -> None:
    assert system.place(order, "--no-wait").code == 0
    assert system.run("cancel", order["order_id"], "--reason", _REASON).code == 0
    assert _ended(system, order)["error"]["message"] == _REASON


def _park_and_skip(system: System, order: dict[str, Any]) -> None:
    assert system.place(order).code == 4
    decision = ("--reason", _OPERATORS_REASON, "--actor", _ACTOR)
    assert system.run("desk", "skip", order["order_id"], "payment.cancel", *decision).code == 0
    assert _ended(system, order)["state"] == "ROLLED_BACK_WITH_SKIPS"


def _ended(system: System, order: dict[str, Any]) -> Any:
    """Wait for the end of the order; its outcome."""

    def status() -> Answer:
        return system.run("status", order["order_id"], "--json")

    return eventually(status, "the order ends", until=lambda answer: answer.code != 4).document


async def _all_that_temporal_stores(system: System) -> dict[str, bytes]:
    """Every event of each execution, and its description with memo, user metadata and search attributes."""
    client = await Client.connect(f"127.0.0.1:{system.port}")
    told = {}
    async for execution in client.list_workflows():
        handle = client.get_workflow_handle(execution.id, run_id=execution.run_id)
        history = await handle.fetch_history()
        description = (await handle.describe()).raw_description
        told[execution.id] = b"".join(event.SerializeToString() for event in history.events)
        told[execution.id] += description.SerializeToString() + execution.raw_info.SerializeToString()
    return told


def _clear_text(kept: bytes) -> set[str]:
    return {field for field, value in _SECRETS.items() if value.encode() in kept}


@pytest.mark.usefixtures("ended")
def test_temporal_keeps_no_value_of_a_document_nor_a_reason_in_clear_text(encrypted: System) -> None:
    told = asyncio.run(_all_that_temporal_stores(encrypted))
    assert len(told) >= 10
    assert {workflow: found for workflow, kept in told.items() if (found := _clear_text(kept))} == {}
    stored = b"".join(file.read_bytes() for file in encrypted.folder.glob("temporal.db*"))
    assert b"order/t-" in stored  # ids and codes are in clear text, so the search would find more
    assert b"has no account" not in stored
    assert _clear_text(stored) == set()


async def test_what_the_web_ui_shows_of_an_encrypted_order_has_no_customer_and_no_amount(
    encrypted: System, ended: dict[str, str]
) -> None:
    client = await connection.connect(Settings.read(), address=f"127.0.0.1:{encrypted.port}")
    described = await client.get_workflow_handle(f"order/{ended['ok']}").describe()
    summary, details = await described.static_summary() or "", await described.static_details() or ""
    assert (summary, ended["ok"] in details) == ("saga, 1 line", True)
    assert _clear_text((summary + details).encode()) == set()


async def test_the_cli_and_the_web_ui_read_with_the_codec_what_is_unreadable_without_it(
    encrypted: System, ended: dict[str, str]
) -> None:
    codec, workflow_id = f"http://127.0.0.1:{encrypted.options[-1]}", f"order/{ended['poor']}"
    without, with_codec = [_shown(encrypted, workflow_id, *options) for options in ((), ("--codec-endpoint", codec))]
    assert _clear_text(without) == set()
    assert b"Encoded failure" in without
    assert _clear_text(with_codec) == _SECRETS.keys() - {"reason", "actor", "operator's reason"}
    assert b"has no account" in with_codec  # of a failure
    async with httpx.AsyncClient() as browser:
        settings = await browser.get(f"http://127.0.0.1:{encrypted.ui_port}/api/v1/settings")
    assert settings.json()["Codec"]["Endpoint"] == codec


def _shown(system: System, workflow_id: str, *options: str) -> bytes:
    """What `temporal workflow show` prints."""
    command = [find_cli(), "workflow", "show", "--workflow-id", workflow_id, "--detailed"]
    return subprocess.check_output([*command, "--address", f"127.0.0.1:{system.port}", *options], timeout=30)


def test_a_system_goes_on_when_its_key_is_rotated(fresh_system: System) -> None:
    old, new = _key(), _key()
    placed = {keys: _secret_order("rotated", "c-1") for keys in (old, f"{new},{old}")}
    for keys, order in placed.items():
        fresh_system.worker_environment["PAYLOAD_KEY"] = keys
        fresh_system.start()
        text = json.dumps(order | {"lines": line("BOOK-1")})
        assert fresh_system.run("place", "-", stdin=text, PAYLOAD_KEY=keys).code == 0
        if keys == old:
            assert fresh_system.stop() == 0
    ids = [order["order_id"] for order in placed.values()]
    assert [fresh_system.run("status", each, PAYLOAD_KEY=f"{new},{old}").code for each in ids] == [0, 0]
    asyncio.run(_sweep(fresh_system))
    assert fresh_system.run("doctor", PAYLOAD_KEY=f"{new},{old}").code == 0
    without_the_old = [fresh_system.run("status", each, PAYLOAD_KEY=new) for each in ids]
    assert [answer.code for answer in without_the_old] == [2, 0]
    told = without_the_old[0].err
    assert told == f"error: PAYLOAD_KEY: another key, {key_ids(old)[0]}, has encrypted what Temporal holds\n"


async def _sweep(system: System) -> None:
    """Have the schedule, which was made under the first key, sweep; return when it has."""
    client = await Client.connect(f"127.0.0.1:{system.port}")
    query = f"WorkflowType = '{SWEEP_WORKFLOW}' AND ExecutionStatus = 'Completed'"

    async def ended() -> int:
        return (await client.count_workflows(query)).count

    before = await ended()
    await client.get_schedule_handle(SCHEDULE_ID).trigger()
    await eventually_async(ended, "the sweep has ended", until=lambda count: count > before)


@pytest.mark.parametrize("wrong", ["", _key()], ids=["missing", "another"])
def test_a_key_that_is_missing_or_wrong_is_an_error_that_names_it(
    encrypted: System, ended: dict[str, str], wrong: str
) -> None:
    for name in ("ok", "poor", "events", "batch"):
        answer = encrypted.run("status", ended[name], PAYLOAD_KEY=wrong)
        assert answer.code == 2
        assert answer.err.startswith("error: PAYLOAD_KEY: ")
        assert answer.err.count("\n") == 1


@pytest.mark.parametrize("mode", ["saga", "choreography"])
def test_an_order_that_was_placed_under_another_key_is_told_as_that_at_once(encrypted: System, mode: str) -> None:
    text, key = json.dumps(_secret_order("other-key")), _key()
    answer = encrypted.run("place", "-", "--mode", mode, "--no-wait", "--json", stdin=text, PAYLOAD_KEY=key)
    assert answer.code == 0, answer
    message = answer.document["error"]["message"]
    assert "Encoded failure" not in message
    assert "PAYLOAD_KEY" in message


@pytest.mark.parametrize("reader", [None, _key()], ids=["no key", "another key"])
async def test_a_failure_without_details_is_not_told_as_encoded_failure(reader: str | None) -> None:
    failure = Failure()
    written = connection.data_converter(Settings(payload_key=_key()))
    await written.encode_failure(ApplicationError("c-1 has no account", type="PAYMENT_DECLINED"), failure)
    assert b"c-1" not in failure.SerializeToString()
    with pytest.raises(SettingsError, match="PAYLOAD_KEY"):
        await connection.data_converter(Settings(payload_key=reader)).decode_failure(failure)


async def test_a_failure_from_before_the_key_is_read_as_it_is() -> None:
    failure = Failure()
    await connection.data_converter(Settings()).encode_failure(ApplicationError("out of stock"), failure)
    read = await connection.data_converter(Settings(payload_key=_key())).decode_failure(failure)
    assert str(read) == "out of stock"
