"""Orders in a batch: each ends as it would have in a workflow of its own, whatever happens to the others."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from temporalio.client import Client

from cli import show
from cli.documents import generated_orders
from client.engines.batch import Batch, BatchEngine, Handle, batches
from client.errors import DuplicateOrder
from client.orders import Mode, Orders
from client.standing import log_by_query
from contracts import inventory, payment
from contracts.inventory import SetStock
from contracts.order import Order
from contracts.payment import SetAccount
from runtime.connection import connect
from runtime.execute import execute
from runtime.settings import Settings
from temporal_saga import State

from ..eventually import eventually_async
from ..orders import BOUNCES, BOUNCING_CONTACT, REQUIRED, SOUTH_POLE, line
from .command import Answer
from .conftest import Make
from .system import System

pytestmark = pytest.mark.xdist_group("batch")

_REACH_S = 60
FAULTS = """
fault = [
  {transaction = "order/*-reserve", operation = "inventory.reserve.batch", kind = "error_after"},
  {transaction = "order/*-confirm", operation = "order.confirm.batch", kind = "error_after"},
  {transaction = "order/*-capture", operation = "payment.capture.batch", kind = "error_before"},
  {transaction = "order/*-stick", operation = "payment.cancel.batch", kind = "error_before"},
  {transaction = "order/*-down", operation = "inventory.reserve", kind = "error_before"},
  {transaction = "order/*-lost", operation = "*", kind = "error_after", attempts = 1},
  {transaction = "order/*-late", operation = "payment.authorize", kind = "delay", seconds = 2},
  {transaction = "order/*-slow", operation = "shipping.schedule.batch", kind = "hang", attempts = 2},
  {transaction = "order/*-stuck", operation = "order.confirm.batch", kind = "hang", attempts = 2},
]
"""
"""A hanging attempt is given up after ten seconds: two of them leave twenty for what a test does meanwhile."""


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("batch")
    faults = folder / "faults.toml"
    faults.write_text(FAULTS)
    running = System(folder, ["--faults", str(faults)])
    running.start()
    asyncio.run(_open_the_shop(running))
    yield running
    audit = running.run("audit", "--json")
    assert audit.document["clean"], audit.out
    assert running.stop() == 0


async def _open_the_shop(system: System) -> None:
    client = await _client(system)
    await execute(client, inventory.set_stock, SetStock(transaction_id="rare", sku="RARE-1", on_hand=0))
    poor = SetAccount(transaction_id="poor", customer_id="c-poor", currency="EUR", balance_minor=1)
    await execute(client, payment.set_account, poor)


def _bulk(system: System, orders: list[dict[str, Any]], *options: str) -> dict[str, dict[str, Any]]:
    """The outcome of each order, by its id."""
    answer = system.run("bulk", "-", "--json", "--outcomes", *options, stdin="\n".join(map(json.dumps, orders)))
    assert answer.code == 0, answer
    assert sum(answer.document["states"].values()) == len(orders)
    return {outcome["order_id"]: outcome for outcome in answer.document["outcomes"]}


def _batched(system: System, orders: list[dict[str, Any]], size: int = 50) -> dict[str, dict[str, Any]]:
    return _bulk(system, orders, "--mode", "batch", "--batch-size", str(size))


async def _client(system: System) -> Client:
    return await connect(Settings(), address=f"127.0.0.1:{system.port}")


async def _start(system: System, *orders: dict[str, Any]) -> Handle:
    batch = Batch()
    for order in orders:
        batch.add(order["order_id"], json.dumps(order).encode())
    return await _sent(await _client(system), batch)


async def _sent(client: Client, batch: Batch) -> Handle:
    engine = BatchEngine(client, batch.id)
    await engine.start(batch)
    return engine.handle


async def _reaches(client: Client, handle: Handle, order_id: str, step: str) -> None:
    """Wait until a batch that has just been started is at `step` with this order."""

    async def steps() -> list[str]:
        return [entry.step for entry in (await log_by_query(client, handle.id, order_id)).steps]

    await eventually_async(steps, f"{step} is asked for", until=lambda names: step in names, timeout_s=_REACH_S)


async def _said(system: System, *arguments: str) -> Answer:
    """Run a command in a thread, so that the test goes on; its result."""
    return await asyncio.to_thread(system.run, *arguments, "--json")


WAYS: dict[str, dict[str, Any]] = {
    "all is well": {},
    "again all is well": {"lines": [*line("BOOK-1"), *line("PEN-1", 3)]},
    "the customer must be told": REQUIRED,
    "an unknown customer": {"customer_id": "c-none"},
    "an account in another currency": {"currency": "USD"},
    "too little money": {"customer_id": "c-poor"},
    "nothing left": {"lines": line("RARE-1")},
    "an unknown sku": {"lines": line("UNICORN-1")},
    "a country without courier": {"ship_to": SOUTH_POLE},
    "a mail that bounces": {"contact": BOUNCING_CONTACT},
    "a required mail that bounces": BOUNCES,
}


def test_an_order_ends_in_a_batch_as_it_does_alone(system: System, order: Make) -> None:
    """Compare state, error and log of the same orders, placed in a batch and one by one."""
    alone = [order("alone", **changes) for changes in WAYS.values()]
    together = [order("together", **changes) for changes in WAYS.values()]
    singles, batched = _bulk(system, alone), _batched(system, together)
    for name, single, other in zip(WAYS, alone, together, strict=True):
        one, another = singles[single["order_id"]], batched[other["order_id"]]
        assert _gist(one) == _gist(another), name
    assert {outcome["state"] for outcome in batched.values()} == {"CONFIRMED", "ROLLED_BACK"}
    last = together[-1]["order_id"]
    assert system.run("status", last, "--json").document == batched[last]


def _gist(outcome: dict[str, Any]) -> Any:
    steps = [(entry["step"], entry["kind"], entry["status"], entry["error_code"]) for entry in outcome["steps"]]
    error = outcome["error"] and (outcome["error"]["code"], outcome["error"]["step"])
    return outcome["state"], error, steps


@pytest.mark.long
def test_orders_that_need_long_retries_are_detached_from_their_batch_and_every_order_ends_as_it_must(
    system: System, order: Make
) -> None:
    poison = {
        "reserve": ("CONFIRMED", None),  # unknown: go on from the beginning
        "confirm": ("CONFIRMED", None),  # the reply of the pivot is lost
        "capture": ("CONFIRMED", None),  # promised, and not done
        "down": ("ROLLED_BACK", "SERVICE_UNAVAILABLE"),  # one order that no attempt brings through
        "stick": ("ROLLED_BACK", "OUT_OF_STOCK"),  # its undo does not get through
    }
    changes = {"stick": {"lines": line("RARE-1")}}
    poisoned = {name: order(name, **changes.get(name, {})) for name in poison}
    orders = [each for one in poisoned.values() for each in (order("good"), one, order("good"))]
    outcomes = _batched(system, orders, size=3)
    for name, expected in poison.items():
        outcome = outcomes[poisoned[name]["order_id"]]
        assert (outcome["state"], outcome["error"] and outcome["error"]["code"]) == expected, name
    good = [outcome for order_id, outcome in outcomes.items() if order_id.endswith("-good")]
    assert {outcome["state"] for outcome in good} == {"CONFIRMED"}
    assert outcomes.keys() == {each["order_id"] for each in orders}


async def test_an_order_that_needs_long_retries_does_not_delay_its_batch(system: System, order: Make) -> None:
    patient, good, refused = order("stick", lines=line("RARE-1")), order(), order(customer_id="c-none")
    logs = (await (await _start(system, good, patient, refused)).result()).logs()
    ends = [logs[each["order_id"]].state for each in (good, patient, refused)]
    assert ends == [State.CONFIRMED, State.COMPENSATING, State.ROLLED_BACK]
    own = await Orders(await _client(system)).end_of(Order.model_validate(patient))
    assert (own.state, own.error and own.error.code) == (State.ROLLED_BACK, "OUT_OF_STOCK")


@pytest.mark.chaos
def test_lost_replies_of_whole_batches_take_effect_once(system: System, order: Make) -> None:
    outcomes = _batched(system, [order("lost"), *(order() for _ in range(9))])
    assert {outcome["state"] for outcome in outcomes.values()} == {"CONFIRMED"}
    assert {entry["attempts"] for outcome in outcomes.values() for entry in outcome["steps"]} == {2}


@pytest.mark.long  # both attempts at a hanging call time out
async def test_an_order_of_a_batch_can_be_looked_at_and_cancelled_before_its_pivot(system: System, order: Make) -> None:
    slow, neighbour = order("slow"), order()
    handle = await _start(system, slow, neighbour)
    await _reaches(await _client(system), handle, slow["order_id"], "shipping.schedule")
    status, listed, cancelled = await asyncio.gather(
        _said(system, "status", slow["order_id"]),
        _said(system, "list", "--state", "RUNNING"),
        _said(system, "cancel", slow["order_id"], "--reason", "changed my mind"),
    )
    assert status.document["steps"][0]["step"] == "order.create"
    assert {slow["order_id"], neighbour["order_id"]} <= {entry["order_id"] for entry in listed.document}
    assert cancelled.code == 0, cancelled
    logs = (await handle.result()).logs()
    error = logs[slow["order_id"]].error
    assert error is not None
    assert (error.code, error.message) == ("CANCELLED", "changed my mind")
    assert logs[neighbour["order_id"]].state is State.CONFIRMED
    assert (await Orders(await _client(system)).status(slow["order_id"])).log.state is State.ROLLED_BACK


@pytest.mark.chaos
async def test_cancelling_an_order_of_a_batch_is_refused_from_the_pivot_on(system: System, order: Make) -> None:
    stuck = order("stuck")
    handle = await _start(system, stuck, order())
    await _reaches(await _client(system), handle, stuck["order_id"], "order.confirm")
    refused = await _said(system, "cancel", stuck["order_id"], "--reason", "too late")
    assert (refused.code, refused.document["error"]["code"]) == (2, "CANCEL_REFUSED")
    assert {log.state for log in (await handle.result()).logs().values()} == {State.CONFIRMED}


@pytest.mark.chaos
async def test_cancelling_a_batch_rolls_back_every_order_in_it(system: System, order: Make) -> None:
    slow = order("slow")
    handle = await _start(system, slow, order())
    await _reaches(await _client(system), handle, slow["order_id"], "shipping.schedule")
    await handle.cancel()
    errors = [log.error for log in (await handle.result()).logs().values()]
    assert [error and error.code for error in errors] == ["CANCELLED", "CANCELLED"]


@pytest.mark.chaos
def test_an_order_past_its_deadline_leaves_at_its_next_step(system: System, order: Make) -> None:
    late, neighbour = order("late", deadline_s=1), order()
    outcomes = _batched(system, [late, neighbour])
    assert outcomes[late["order_id"]]["error"]["code"] == "DEADLINE_EXCEEDED"
    assert outcomes[neighbour["order_id"]]["state"] == "CONFIRMED"


async def test_an_order_placed_before_keeps_its_first_outcome_and_another_content_is_refused(
    system: System, order: Make
) -> None:
    client = await _client(system)
    batched, refused, single = order(), order(customer_id="c-none"), order()
    first = await asyncio.to_thread(_batched, system, [batched, refused])
    first[single["order_id"]] = await _placed(client, single)
    assert await asyncio.to_thread(_batched, system, [single, batched, refused, batched]) == first
    for document in (batched, refused):
        for colocated in (True, False):  # the first starts a workflow, the second finds it
            assert await _placed(client, document, colocated=colocated) == first[document["order_id"]]
    by_events = await asyncio.to_thread(system.place, batched, "--mode", "choreography")
    assert by_events.document == first[batched["order_id"]]
    assert (await asyncio.to_thread(system.run, "audit")).code == 0, "the second placing has changed nothing"

    other = batched | {"customer_id": "c-2"}
    with pytest.raises(DuplicateOrder):
        await _placed(client, other)
    [told] = (await asyncio.to_thread(_batched, system, [other])).values()
    assert (told["state"], told["error"]["code"]) == ("ROLLED_BACK", "DUPLICATE_ORDER")


async def _placed(client: Client, document: dict[str, Any], *, colocated: bool = False) -> dict[str, Any]:
    """Place the order; the outcome document that `place` prints."""
    mode = Mode.COLOCATED if colocated else Mode.SAGA
    log = await Orders(client).place(Order.model_validate(document), mode)
    return show.Outcome.of(log).model_dump(mode="json")


async def test_a_malformed_order_in_a_batch_is_refused_alone(system: System, order: Make) -> None:
    good, bad = order(), order() | {"currency": "CRABS"}
    twice = good | {"customer_id": "c-2"}
    batch = Batch()
    for place, document in enumerate((good, bad, twice, {"no": "order"})):
        batch.add(str(place), json.dumps(document).encode())
    outcome = await (await _sent(await _client(system), batch)).result()
    states = {order_id: (log.state, log.error and log.error.code) for order_id, log in outcome.logs().items()}
    assert states[good["order_id"]] == (State.CONFIRMED, None)
    assert states[bad["order_id"]] == (State.ROLLED_BACK, "INVALID_ORDER")
    assert len([end for end in states.values() if end == (State.ROLLED_BACK, "INVALID_ORDER")]) == 3


async def test_a_terminated_batch_is_found_by_the_audit_and_brought_to_its_end_by_the_sweep(
    system: System, order: Make
) -> None:
    slow, neighbour = order("slow"), order()
    handle = await _start(system, slow, neighbour)
    await _reaches(await _client(system), handle, slow["order_id"], "shipping.schedule")
    await handle.terminate("a slip of the hand")
    ids = {slow["order_id"], neighbour["order_id"]}
    audit = system.run("audit", "--json")
    assert (audit.code, {found["subject"] for found in audit.document["violations"]}) == (5, ids)
    swept = system.run("sweep", "--json").document
    assert (set(swept["orders"]), swept["finished"]) == (ids, 2)
    error = (await Orders(await _client(system)).status(slow["order_id"])).log.error
    assert error is not None
    assert error.code == "ABANDONED"


def test_orders_are_cut_into_batches_of_bounded_length_and_size_and_no_id_is_twice_in_one() -> None:
    [first, *others] = list(generated_orders(7))
    cut = [list(batch.documents) for batch in batches([first, first, *others], size=3)]
    ids = [each.order_id for each in others]
    assert cut == [[first.order_id], [first.order_id, *ids[:2]], ids[2:5], ids[5:]]
    assert all(batch.size_bytes == len(batch.json) + 1 for batch in batches(others))


@pytest.mark.chaos
def test_batches_bring_every_order_to_an_end_where_a_fifth_of_all_attempts_fails(fresh_system: System) -> None:
    fresh_system.options = ["--fault-rate", "0.2", "--fault-seed", "7"]
    fresh_system.start()
    answer = fresh_system.run("bulk", "--count", "300", "--mode", "batch", "--batch-size", "15", "--json")
    assert answer.code == 0, answer
    assert sum(answer.document["states"].values()) == 300
    assert any(line.get("event") == "fault" for line in fresh_system.log_lines())
    audit = fresh_system.run("audit", "--json")
    assert (audit.code, audit.document["orders"]) == (0, 300), audit.out
