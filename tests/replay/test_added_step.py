"""A step is added to a running system by the recipe of docs/architecture.md, with orders of every kind under way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from temporalio import activity, workflow
from temporalio.client import Client, WorkflowHistory
from temporalio.worker import Worker

from cli import documents
from client.engines.batch import Batch, BatchEngine
from client.engines.choreography import ChoreographyEngine
from client.orders import Mode, Orders
from contracts.batch_operation import BatchReply, batched
from contracts.catalogue import OPERATIONS
from contracts.choreography import CHOREOGRAPHY, PARTICIPANTS, Fact, Part
from contracts.ids import participant_id
from contracts.message import Reply
from contracts.order import Order
from contracts.shipping import ScheduleShipment
from runtime import connection
from runtime.embedded import embedded_server, free_port
from runtime.execute import execute
from runtime.faults import Fault, FaultInterceptor, FaultKind
from runtime.seed import seed
from runtime.settings import Settings
from saga import Operation, Plan, Saga, State
from worker import serving
from workflows import choreography, order

from . import histories
from .batch_scenes import BATCH_SCENES
from .scenes import SCENES
from .test_replay import ALL_WORKFLOWS, OTHERS, _replayer

INSURE = Operation("insurance.insure", ScheduleShipment, Reply, queue="insurance")
UNINSURE = Operation("insurance.uninsure", ScheduleShipment, Reply, queue="insurance", undoes=INSURE)
_SLOW_S = 2.0
"""How long a step of the orders takes that are under way when the process changes."""

Prepare = Callable[[Any, Any], Awaitable[None]]


def _insured(before: Prepare) -> Prepare:
    async def prepare(saga: Saga | Plan, requests: order.Requests) -> None:
        await before(saga, requests)
        if workflow.patched("insurance"):
            await saga.step(INSURE, requests.shipment, undo=UNINSURE)

    return prepare


@pytest.fixture
def add_the_step(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    def add() -> None:
        monkeypatch.setattr(order, "prepare", _insured(order.prepare))
        for operation in (INSURE, UNINSURE):
            monkeypatch.setitem(OPERATIONS, operation.name, operation)

    return add


def _recorded() -> list[WorkflowHistory]:
    read = [histories.read(scene.order_id) for scene in SCENES] + [histories.read_batch(each) for each in BATCH_SCENES]
    return read + [histories.read_other(each) for each in OTHERS]


async def _replay(found: list[WorkflowHistory]) -> None:
    """In one process, one after the other: none may learn from another what it has done itself."""
    replayer = _replayer(ALL_WORKFLOWS)
    for each in found:
        await replayer.replay_workflow(each)


async def test_what_the_process_before_has_begun_replays_under_the_new_one(add_the_step: Callable[[], None]) -> None:
    add_the_step()
    await _replay(_recorded())


@pytest.mark.parametrize("guarded", [True, False])
async def test_a_participant_replays_under_a_new_table_if_that_is_chosen_by_the_same_guard(
    monkeypatch: pytest.MonkeyPatch,
    guarded: bool,  # noqa: FBT001 — a case
) -> None:
    def part(service: str, placed: Order) -> Part:
        before = CHOREOGRAPHY[placed.notification][service]
        if service != "order" or (guarded and not workflow.patched("insurance")):
            return before
        return replace(before, finish=replace(before.finish, after=before.finish.after | {Fact.CUSTOMER_NOTIFIED}))

    monkeypatch.setattr(choreography, "part_of", part)
    with nullcontext() if guarded else pytest.raises(workflow.NondeterminismError):
        await _replay([histories.read_other(each) for each in OTHERS if each.startswith("choreography/")])


async def test_orders_of_every_kind_get_through_the_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, add_the_step: Callable[[], None]
) -> None:
    monkeypatch.setenv("DATABASE_URL", f"sqlite+aiosqlite:///{tmp_path}/{{service}}.db")
    settings, insured = Settings.read(), set[str]()
    slow = [
        Fault(operation="inventory.reserve", transaction="order/old-*", kind=FaultKind.DELAY, seconds=_SLOW_S),
        Fault(operation="order.create", transaction="order/old-colocated", kind=FaultKind.DELAY, seconds=_SLOW_S),
    ]
    async with embedded_server(port=free_port(), ui_port=free_port(), data=tmp_path) as server:
        client = await connection.connect(settings, address=server.address)
        async with serving(client, settings, interceptors=[FaultInterceptor(slow)]):
            await seed(partial(execute, client))
            old = await _placed(client, "old")
            await asyncio.sleep(_SLOW_S / 2)  # into the step, but not beyond it
        add_the_step()
        async with serving(client, settings), _insurance(client, insured):
            assert await old() == {State.CONFIRMED}
            for again in ("new", "newer"):
                assert await (await _placed(client, again))() == {State.CONFIRMED}
        found = [await client.get_workflow_handle(each).fetch_history() for each in _workflows()]
    batched = {f"order/{age}-batch-{number}" for age in ("new", "newer") for number in range(2)}
    singly = {f"order/{age}-{kind}" for age in ("old", "new", "newer") for kind in ("alone", "colocated")}
    assert insured == batched | singly, "an order of the old batch goes the way that the batch has begun"
    await _replay(found)
    await _replay(found[::-1])


async def _placed(client: Client, age: str) -> Callable[[], Awaitable[set[State]]]:
    """One of each kind under way; the states they end in."""
    batch = Batch(f"batch/{age}")
    for number in range(2):
        placed = _order(f"{age}-batch-{number}")
        batch.add(placed.order_id, placed.model_dump_json().encode())
    engine, orders = BatchEngine(client, batch.id), Orders(client)
    await engine.start(batch)
    alone, together, told = (_order(f"{age}-{kind}") for kind in ("alone", "colocated", "told"))
    modes = {Mode.SAGA: alone, Mode.COLOCATED: together, Mode.CHOREOGRAPHY: told}
    for mode, placed in modes.items():
        await orders.start(placed, mode)

    async def ends() -> set[State]:
        single = [await orders.place(placed, mode) for mode, placed in modes.items()]
        for service in PARTICIPANTS:
            await ChoreographyEngine(client).handle_of(told.order_id, service).result()
        return {log.state for log in (*single, *(await engine.outcome()).logs().values())}

    return ends


def _workflows() -> Iterator[str]:
    for age in ("old", "new", "newer"):
        yield from (f"batch/{age}", f"order/{age}-alone", f"order/{age}-colocated")
        yield from (participant_id(f"{age}-told", service) for service in PARTICIPANTS)


def _order(order_id: str) -> Order:
    line = {"sku": "BOOK-1", "quantity": 1, "unit_price_minor": 1299}
    return Order.model_validate(documents.document(order_id, "c-1", [line]))


def _insurance(client: Client, insured: set[str]) -> Worker:
    """The new service, as far as the process sees it."""

    async def insure(request: ScheduleShipment) -> Reply:
        insured.add(request.transaction_id)
        return Reply(attempt=activity.info().attempt)

    async def insure_many(asked: dict[str, Any]) -> BatchReply:
        insured.update(request["transaction_id"] for request in asked["requests"])
        return BatchReply(count=len(asked["requests"]))

    served: list[Callable[..., Any]] = [
        activity.defn(name=INSURE.name)(insure),
        activity.defn(name=batched(INSURE).name)(insure_many),
    ]
    return Worker(client, task_queue=INSURE.queue, activities=served)
