"""The orders whose histories are recorded: how each is brought about, how it ends, and what its history must show."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
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
from saga import Fix, Skip, State, Status, TransactionLog
from workflows.order import OrderWorkflow

_LOOK_EVERY_S = 0.1
_PATIENCE_S = 120
"""For one scene: three times what the slowest takes, a step that hangs until its 25 s are over."""

Handle = WorkflowHandle[Any, Any]


@dataclass(frozen=True)
class Stage:
    """What a scene is played on: the workflow of its order, and the service that does not work until it is repaired."""

    client: Client
    handle: Handle
    repair: Callable[[], None]
    broken: str

    async def until(self, true: Callable[[TransactionLog], bool]) -> TransactionLog:
        async with asyncio.timeout(_PATIENCE_S):
            while not true(log := await log_by_query(self.client, self.handle.id)):
                await asyncio.sleep(_LOOK_EVERY_S)
        return log

    async def parked(self) -> None:
        await self.until(lambda log: log.state is State.PARKED)

    async def swept(self) -> None:
        await self.handle.terminate("a slip of the hand")
        self.repair()
        await execute(self.client, recovery.sweep, SweepOrders())


async def _nothing(_: Stage) -> None:
    """It ends by itself."""


async def _recover(stage: Stage) -> None:
    await stage.parked()
    stage.repair()  # and the next round, ten seconds later, gets through


async def _retry(stage: Stage) -> None:
    await stage.parked()
    stage.repair()
    await stage.handle.execute_update(OrderWorkflow.desk_retry, stage.broken)


async def _skip(stage: Stage) -> None:
    await stage.parked()
    await stage.handle.execute_update(OrderWorkflow.desk_skip, args=[stage.broken, Skip("ann", "paid back by hand")])


async def _fix(stage: Stage) -> None:
    await stage.parked()
    stage.repair()
    tx = stage.handle.id
    whose = {"transaction_id": tx, "order_id": tx.removeprefix("order/"), "customer_id": _CUSTOMER}
    request = {**whose, "amount_minor": 1299, "currency": "EUR"}
    await stage.handle.execute_update(OrderWorkflow.desk_fix, args=[stage.broken, Fix("ann", request)])


async def _terminate_under_way(stage: Stage) -> None:
    await stage.until(lambda log: any(entry.step == stage.broken for entry in log.steps))
    await stage.swept()


async def _terminate_parked(stage: Stage) -> None:
    await stage.parked()
    await stage.swept()


async def _cancel(stage: Stage) -> None:
    await stage.until(lambda log: any(entry.step == stage.broken for entry in log.steps))
    await stage.handle.cancel()


@dataclass(frozen=True)
class Scene:
    """`steps`, `parked` and `updates` are what the history must show: the last status of these steps, every step that
    was parked on the way, and every update that was taken."""

    order_id: str
    state: State
    code: Code | None = None
    broken: str = ""
    """The operation that does not work in this scene, if any."""
    kind: FaultKind = FaultKind.REFUSE
    changes: dict[str, Any] = field(default_factory=dict)
    act: Callable[[Stage], Awaitable[None]] = _nothing
    steps: Mapping[str, Status] = field(default_factory=dict)
    parked: tuple[str, ...] = ()
    updates: tuple[str, ...] = ()

    @property
    def fault(self) -> Fault:
        """As a fault file would name it; without a broken operation it strikes none."""
        return Fault(operation=self.broken, transaction=order_workflow_id(self.order_id), kind=self.kind)


_CUSTOMER = "c-demo"  # the demo opens their account, and sets the stock of both skus
_LINES = [{"sku": "BOOK-1", "quantity": 1, "unit_price_minor": 1299}]
_SOLD_OUT: dict[str, Any] = {"lines": [{"sku": "RARE-1", "quantity": 1, "unit_price_minor": 1299}]}


def _stuck(order_id: str, act: Callable[[Stage], Awaitable[None]], update: str, status: Status = Status.DONE) -> Scene:
    """An order that is sold out, while the payment service does not take its hold back."""
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
    _stuck("parked-undo-recovered", _recover, ""),
    _stuck("parked-undo-retried", _retry, "desk_retry"),
    _stuck("parked-undo-fixed", _fix, "desk_fix"),
    _stuck("parked-undo-skipped", _skip, "desk_skip", Status.SKIPPED),
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
        act=_terminate_under_way,
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
"""In trouble for longer than a demo lasts."""
_DEMO = tuple(
    Scene(
        played.order_id, played.state, played.code, updates=("cancel_order",) if played.code is Code.CANCELLED else ()
    )
    for played in demo.SCENES
)
SCENES = (*_DEMO, *TROUBLES)


async def play(client: Client, scene: Scene, faults: list[Fault]) -> None:
    """Place the order of `scene` and see it to its end; `faults` are those at work, and lose its own at a repair."""
    document = documents.document(scene.order_id, _CUSTOMER, _LINES) | scene.changes
    handle = await client.start_workflow(
        OrderWorkflow.run, document, id=order_workflow_id(scene.order_id), task_queue=WORKFLOWS_QUEUE
    )

    def repair() -> None:
        faults[:] = [fault for fault in faults if fault != scene.fault]

    await scene.act(Stage(client, handle, repair, scene.broken))
    ended = client.get_workflow_handle(handle.id)  # of whatever run is the last
    async with asyncio.timeout(_PATIENCE_S):
        while (await ended.describe()).close_time is None:
            await asyncio.sleep(_LOOK_EVERY_S)
