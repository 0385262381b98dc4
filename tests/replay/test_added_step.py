"""A step is added to a running system by the recipe of docs/architecture.md, with orders of every mode under way.

The step is the shipping: the process of before is the real one without the calls of the shipping service.
"""

from collections.abc import Awaitable, Callable, Coroutine, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from temporalio import workflow
from temporalio.client import Client, WorkflowHistory
from temporalio.service import RPCError

from cli import documents
from client.engines.batch import Batch, BatchEngine
from client.engines.choreography import ChoreographyEngine
from client.orders import Mode, Orders
from composition.serving import serving
from contracts import notification, payment
from contracts.choreography import EVENTS, PARTICIPANTS, PUBLISHING
from contracts.ids import participant_id
from contracts.order import Order
from contracts.outline import OUTLINE, Outline
from runtime import connection
from runtime.embedded import embedded_server, free_port
from runtime.execute import execute
from runtime.faults import Fault, FaultInterceptor, FaultKind
from runtime.seed import seed
from runtime.settings import Settings
from temporal_saga import Operation, Plan, Saga, State, Status, TransactionLog
from workflows import order

from ..eventually import eventually_async
from . import histories
from .histories import ALL_WORKFLOWS, replayer
from .other_scenes import file_of

pytestmark = pytest.mark.long

_ADDED = "shipping"
_PICKUP = "pickup"
"""An order without the added step, between two orders of its batch that have it."""
_PASSED = "passed"
"""An order that is past the place of the added step when the process changes."""
_ALONE, _IN_A_BATCH, _CHOREOGRAPHED = ("alone", "colocated"), ("batch-0", _PICKUP, "batch-1"), "choreographed"

Phase = Callable[[Any, Any], Awaitable[None]]
IsAdded = Callable[[Saga | Plan], bool]
Change = Callable[[IsAdded], None]


class _Filtered:
    """A saga, or its plan, without the calls of the added service unless `is_added`, which is asked at each call."""

    def __init__(self, saga: Saga | Plan, is_added: IsAdded) -> None:
        self._saga = saga
        self._is_added = is_added

    def __getattr__(self, name: str) -> Any:
        return getattr(self._saga, name)

    def step(self, operation: Operation[Any, Any], request: Any, **options: Any) -> Coroutine[Any, Any, Any]:
        return self._saga.step(operation, request, **options) if self._has(operation, request) else _no_call()

    def finish(self, operation: Operation[Any, Any], request: Any, **options: Any) -> Coroutine[Any, Any, Any]:
        return self._saga.finish(operation, request, **options) if self._has(operation, request) else _no_call()

    def _has(self, operation: Operation[Any, Any], request: Any) -> bool:
        return operation.service != _ADDED or (self._is_added(self._saga) and not request.order_id.endswith(_PICKUP))


async def _no_call() -> None:
    pass


_PROCESS: dict[str, Phase] = {"prepare": order.prepare, "commit": order.commit}


@pytest.fixture
def change(monkeypatch: pytest.MonkeyPatch) -> Change:
    """Give the process the shipping only where the condition holds."""

    def filtered(body: Phase, is_added: IsAdded) -> Phase:
        return lambda saga, requests: body(_Filtered(saga, is_added), requests)

    def set_process(is_added: IsAdded) -> None:
        for name, body in _PROCESS.items():
            monkeypatch.setattr(order, name, filtered(body, is_added))

    return set_process


async def _replay(found: list[WorkflowHistory]) -> None:
    """Replay one after the other in one process: no workflow may learn from another what it has done itself."""
    for history in found:
        await replayer(ALL_WORKFLOWS).replay_workflow(history)


async def test_workflows_under_way_replay_when_the_process_changes_behind_a_guard(change: Change) -> None:
    change(lambda saga: not saga.patched("no shipping"))
    await _replay(histories.recorded())


async def test_a_participant_under_way_does_not_replay_when_a_step_is_added_without_a_guard(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def prepare(saga: Saga | Plan, requests: order.Requests) -> None:
        await _PROCESS["prepare"](saga, requests)
        await saga.step(notification.send_confirmation, requests.notification)

    monkeypatch.setattr(order, "prepare", prepare)
    with pytest.raises(workflow.NondeterminismError):
        await _replay([histories.read(file_of(participant_id("choreographed-confirmed", "order")))])


async def test_orders_of_every_mode_get_through_the_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Change
) -> None:
    monkeypatch.setenv("DATABASE_URL", f"sqlite+aiosqlite:///{tmp_path}/{{service}}.db")
    settings = Settings.read()
    held = [Fault(operation="order.create", transaction=f"order/old-{kind}", kind=FaultKind.HANG) for kind in _ALONE]
    held.append(Fault(operation="inventory.reserve", transaction="order/old-*", kind=FaultKind.HANG))
    async with embedded_server(port=free_port(), ui_port=free_port(), data=tmp_path) as server:
        client = await connection.connect(settings, address=server.address)
        change(lambda _: False)
        async with serving(client, settings, interceptors=[FaultInterceptor(held)]):
            await seed(partial(execute, client))
            old = await _placed(client, "old")
            for held_at in _HELD.items():
                await eventually_async(partial(_is_calling, client, *held_at), f"held: {held_at}")
            await _have_begun(client)
        change(lambda saga: saga.patched("shipping"))
        async with serving(client, settings):
            logs = await old()
            logs += await (await _placed(client, "new"))()
            outlines = {kind: await _outlined(client, f"order/old-{kind}") for kind in (*_ALONE, _PASSED)}
        found = [await client.get_workflow_handle(each).fetch_history() for each in _workflows()]
    assert {log.state for log in logs} == {State.CONFIRMED}
    assert {kind for kind, calls in outlines.items() if "shipping.dispatch" in calls} == set(_ALONE)
    new = {f"order/new-{kind}" for kind in (*_ALONE, _PASSED, *_IN_A_BATCH, _CHOREOGRAPHED) if kind != _PICKUP}
    before = {f"order/old-{kind}" for kind in _ALONE}
    for step in ("shipping.schedule", "shipping.dispatch"):
        having = {log.transaction_id for log in logs if any(entry.step == step for entry in log.steps)}
        assert having == new | before, "a batch, or a participant, follows the process that it has started with"
    await _replay(found)
    await _replay(found[::-1])


_HELD = {
    "order/old-alone": "order.create",
    "order/old-colocated": "order.create",
    f"order/old-{_PASSED}": "inventory.reserve",
    "batch/old": "inventory.reserve.batch",
    participant_id(f"old-{_CHOREOGRAPHED}", "inventory"): "inventory.reserve",
}
"""What each workflow is calling when the process changes."""


async def _is_calling(client: Client, workflow_id: str, operation: str) -> bool:
    try:
        pending = (await client.get_workflow_handle(workflow_id).describe()).raw_description.pending_activities
    except RPCError:  # it is not started yet
        return False
    return operation in [each.activity_type.name for each in pending]


async def _have_begun(client: Client) -> None:
    """Wait for all participants that follow the payment: one that begins after the change may wait for the new step,
    which those before it do not make."""
    engine = ChoreographyEngine(client)

    async def statuses() -> dict[str, Status]:
        now = await engine.status(f"old-{_CHOREOGRAPHED}")
        return {} if now is None else {entry.step: entry.status for entry in now.log.steps}

    told = PUBLISHING[EVENTS[payment.authorize].done].name
    await eventually_async(statuses, "the payment is told", until=lambda found: found.get(told) is Status.DONE)
    await statuses()  # the workers answer for each participant that has been told


async def _outlined(client: Client, workflow_id: str) -> set[str]:
    """The calls of the query `outline`, for which the worker replays the workflow first."""
    outline = await client.get_workflow_handle(workflow_id).query(OUTLINE, result_type=Outline)
    return {call.operation for stage in outline.stages for call in stage}


async def _placed(client: Client, age: str) -> Callable[[], Awaitable[list[TransactionLog]]]:
    """Start an order in each mode. What is returned waits for the ends."""
    batch = Batch(f"batch/{age}")
    for kind in _IN_A_BATCH:
        placed = _order(f"{age}-{kind}")
        batch.add(placed.order_id, placed.model_dump_json().encode())
    engine, orders = BatchEngine(client, batch.id), Orders(client)
    await engine.start(batch)
    alone, colocated, by_events, passed = (_order(f"{age}-{kind}") for kind in (*_ALONE, _CHOREOGRAPHED, _PASSED))
    modes = [(Mode.SAGA, alone), (Mode.COLOCATED, colocated), (Mode.CHOREOGRAPHY, by_events), (Mode.SAGA, passed)]
    for mode, placed in modes:
        await orders.start(placed, mode)

    async def ends() -> list[TransactionLog]:
        logs = [await orders.place(placed, mode) for mode, placed in modes]
        for service in _participants(age):
            await ChoreographyEngine(client).handle_of(by_events.order_id, service).result()
        return [*logs, *(await engine.outcome()).logs().values()]

    return ends


def _participants(age: str) -> list[str]:
    return [service for service in PARTICIPANTS if age != "old" or service != _ADDED]


def _workflows() -> Iterator[str]:
    for age in ("old", "new"):
        yield from (f"batch/{age}", *(f"order/{age}-{kind}" for kind in (*_ALONE, _PASSED)))
        yield from (participant_id(f"{age}-{_CHOREOGRAPHED}", service) for service in _participants(age))


def _order(order_id: str) -> Order:
    line = {"sku": "BOOK-1", "quantity": 1, "unit_price_minor": 1299}
    return Order.model_validate(documents.document(order_id, "c-1", [line]))
