"""The orders whose histories are recorded: what happens to each, its end, and what its history must show."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from temporalio.client import Client, WorkflowHandle

from cli import demo, documents
from client.standing import log_by_query
from contracts import recovery
from contracts.errors import Code
from contracts.ids import order_workflow_id
from contracts.order import WORKFLOWS_QUEUE
from contracts.recovery import SweepOrders
from runtime.execute import execute
from runtime.faults import Fault, FaultKind
from temporal_saga import Fix, Skip, State, Status, TransactionLog
from workflows.order import OrderWorkflow

from ..eventually import eventually_async

_TIMEOUT_S = 120
"""Limit for one scene: three times what the slowest takes, a step that hangs until its 25 s are over."""

Handle = WorkflowHandle[Any, Any]


@dataclass(frozen=True)
class Running:
    """A scene that runs: its order's workflow, and the operation that fails until it is repaired."""

    client: Client
    handle: Handle
    repair: Callable[[], None]
    broken: str

    async def until(self, holds: Callable[[TransactionLog], bool], what: str) -> None:
        await eventually_async(
            partial(log_by_query, self.client, self.handle.id), what, until=holds, timeout_s=_TIMEOUT_S
        )

    async def until_called(self) -> None:
        await self.until(lambda log: any(entry.step == self.broken for entry in log.steps), f"{self.broken} is called")

    async def until_parked(self) -> None:
        await self.until(lambda log: log.state is State.PARKED, f"{self.broken} is parked")

    async def terminate_and_sweep(self) -> None:
        await self.handle.terminate("terminated by a test")
        self.repair()
        await execute(self.client, recovery.sweep, SweepOrders())


async def _nothing(_: Running) -> None:
    """The order ends by itself."""


async def _recover(running: Running) -> None:
    await running.until_parked()
    running.repair()  # the next round, ten seconds later, succeeds


async def _retry(running: Running) -> None:
    await running.until_parked()
    running.repair()
    await running.handle.execute_update(OrderWorkflow.desk_retry, running.broken)


async def _skip(running: Running) -> None:
    await running.until_parked()
    await running.handle.execute_update(
        OrderWorkflow.desk_skip, args=[running.broken, Skip("ann", "paid back by hand")]
    )


async def _fix(running: Running) -> None:
    await running.until_parked()
    running.repair()
    tx = running.handle.id
    order = {"transaction_id": tx, "order_id": tx.removeprefix("order/"), "customer_id": _CUSTOMER}
    request = order | {"amount_minor": 1299, "currency": "EUR"}
    await running.handle.execute_update(OrderWorkflow.desk_fix, args=[running.broken, Fix("ann", request)])


async def _terminate_running(running: Running) -> None:
    await running.until_called()
    await running.terminate_and_sweep()


async def _terminate_parked(running: Running) -> None:
    await running.until_parked()
    await running.terminate_and_sweep()


async def _cancel(running: Running) -> None:
    await running.until_called()
    await running.handle.cancel()


@dataclass(frozen=True)
class Scene:
    order_id: str
    state: State
    code: Code | None = None
    broken: str = ""
    """The operation that fails in this scene, if any."""
    kind: FaultKind = FaultKind.REFUSE
    changes: dict[str, Any] = field(default_factory=dict)
    act: Callable[[Running], Awaitable[None]] = _nothing
    steps: Mapping[str, Status] = field(default_factory=dict)
    """The last status of some steps, as the history must show it."""
    parked: tuple[str, ...] = ()
    """Every step that was parked, as the history must show it."""
    updates: tuple[str, ...] = ()
    """Every update that was accepted, as the history must show it."""

    @property
    def fault(self) -> Fault:
        """The fault as a fault file names it; without a broken operation it matches no call."""
        return Fault(operation=self.broken, transaction=order_workflow_id(self.order_id), kind=self.kind)


_CUSTOMER = "c-demo"  # the demo sets this account, and the stock of both skus
_LINES = [{"sku": "BOOK-1", "quantity": 1, "unit_price_minor": 1299}]
_SOLD_OUT: dict[str, Any] = {"lines": [{"sku": "RARE-1", "quantity": 1, "unit_price_minor": 1299}]}


def _undo_parked(
    order_id: str, act: Callable[[Running], Awaitable[None]], update: str, status: Status = Status.DONE
) -> Scene:
    """An order that is sold out, while the payment service refuses to give the hold back."""
    state = State.ROLLED_BACK_WITH_SKIPS if status is Status.SKIPPED else State.ROLLED_BACK
    return Scene(
        order_id,
        state,
        Code.OUT_OF_STOCK,
        "payment.cancel",
        changes=_SOLD_OUT,
        act=act,
        steps={"inventory.reserve": Status.REFUSED, "payment.cancel": status},
        parked=("payment.cancel",),
        updates=(update,) if update else (),
    )


TROUBLES = (
    _undo_parked("parked-undo-recovered", _recover, ""),
    _undo_parked("parked-undo-retried", _retry, "desk_retry"),
    _undo_parked("parked-undo-fixed", _fix, "desk_fix"),
    _undo_parked("parked-undo-skipped", _skip, "desk_skip", Status.SKIPPED),
    Scene(
        "parked-finish-recovered",
        State.CONFIRMED,
        broken="payment.capture",
        act=_recover,
        steps={"payment.capture": Status.DONE},
        parked=("payment.capture",),
    ),
    Scene(
        "parked-finish-skipped",
        State.CONFIRMED_WITH_SKIPS,
        broken="payment.capture",
        act=_skip,
        steps={"payment.capture": Status.SKIPPED},
        parked=("payment.capture",),
        updates=("desk_skip",),
    ),
    Scene(
        "swept-back",
        State.ROLLED_BACK,
        Code.ABANDONED,
        "shipping.schedule",
        FaultKind.HANG,
        act=_terminate_running,
        steps=dict.fromkeys(("order.cancel", "payment.cancel", "inventory.release", "shipping.cancel"), Status.DONE),
    ),
    Scene(
        "swept-forward",
        State.CONFIRMED,
        broken="payment.capture",
        act=_terminate_parked,
        steps={"order.cancel": Status.REFUSED, "payment.capture": Status.DONE},
    ),
    Scene(
        "cancelled-by-temporal",
        State.ROLLED_BACK,
        Code.CANCELLED,
        "shipping.schedule",
        FaultKind.HANG,
        act=_cancel,
        steps={"shipping.schedule": Status.UNKNOWN, "shipping.cancel": Status.DONE},
    ),
)
"""Scenes that take longer than a demo."""
_DEMO = tuple(
    Scene(
        played.order_id, played.state, played.code, updates=("cancel_order",) if played.code is Code.CANCELLED else ()
    )
    for played in demo.SCENES
)
SCENES = (*_DEMO, *TROUBLES)


async def play(client: Client, scene: Scene, faults: list[Fault]) -> None:
    """Place the order of `scene` and wait for its end. A repair removes its fault from `faults`."""
    document = documents.document(scene.order_id, _CUSTOMER, _LINES) | scene.changes
    handle = await client.start_workflow(
        OrderWorkflow.run, document, id=order_workflow_id(scene.order_id), task_queue=WORKFLOWS_QUEUE
    )

    def repair() -> None:
        faults[:] = [fault for fault in faults if fault != scene.fault]

    await scene.act(Running(client, handle, repair, scene.broken))
    last_run = client.get_workflow_handle(handle.id)

    async def is_closed() -> bool:
        return (await last_run.describe()).close_time is not None

    await eventually_async(is_closed, f"{handle.id} is closed", timeout_s=_TIMEOUT_S)
