"""The order process, stated by hand in this module alone: whoever changes the process reads it anew here."""

import pytest

from contracts.order import NotificationMode
from temporal_saga import CallKind, State

from .rig import Rig, an_order
from .roles import plan_in

_PREPARED = [["order.create"], ["payment.authorize", "inventory.reserve", "shipping.schedule"]]
_ANEW = "state the process anew here; docs/architecture.md, Adding a step, lists what else states it"
_PROMISED = ["payment.capture", "inventory.commit", "shipping.dispatch"]


def _stages(mode: NotificationMode) -> list[list[str]]:
    return [[call.operation.name for call in stage.calls] for stage in plan_in(mode).stages]


def test_an_order_takes_these_steps_and_notifies_its_customer_last() -> None:
    notified = "notification.send_confirmation"
    assert _stages(NotificationMode.BEST_EFFORT) == [*_PREPARED, ["order.confirm"], [*_PROMISED, notified]], _ANEW
    assert _stages(NotificationMode.REQUIRED) == [*_PREPARED, [notified], ["order.confirm"], _PROMISED]


@pytest.mark.asyncio(loop_scope="session")
async def test_a_refused_pivot_undoes_the_steps_in_this_order(rig: Rig) -> None:
    placed = an_order()
    rig.refuse("order.confirm", placed.transaction_id)
    log = await rig.end(await rig.place(placed))
    assert log.state is State.ROLLED_BACK
    assert [entry.step for entry in log.steps if entry.kind in (CallKind.UNDO, CallKind.BEST_EFFORT)] == [
        "payment.cancel",
        "inventory.release",
        "shipping.cancel",
        "order.cancel",
        "notification.send_cancellation",
    ]
