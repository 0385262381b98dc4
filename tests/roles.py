"""The plan of an order, its calls and the choreography derived from it, for tests that are generated from them; and a
made-up plan for those that state one by hand."""

from typing import Any

from cli.documents import document
from cli.graph import plan_of
from contracts.order import NotificationMode, Order
from temporal_saga import CallKind, Operation, Plan
from workflows.choreography import Roles, roles_of


def plan_in(mode: NotificationMode) -> Plan:
    line = {"sku": "BOOK-1", "quantity": 1, "unit_price_minor": 1}
    placed = Order.model_validate(document("o-1", "c-1", [line]) | {"notification": mode})
    return plan_of(placed)


def calls_in(mode: NotificationMode, *kinds: CallKind) -> list[Operation[Any, Any]]:
    """What a confirmed order calls, in order: the calls of `kinds`, or all."""
    calls = [call for stage in plan_in(mode).stages for call in stage.calls]
    return [call.operation for call in calls if call.kind in (kinds or CallKind)]


def roles_in(mode: NotificationMode) -> Roles:
    return roles_of(plan_in(mode))


def made_up_plan() -> Plan:
    """A plan that has every kind of call and stays as it is, whatever becomes of the order process."""
    plan = Plan()
    plan.follow(_trip(plan))
    return plan


async def _trip(plan: Plan) -> None:
    await plan.step(_made_up("trip.book"), {}, undo=_made_up("trip.cancel"))
    plan.on_rollback(_made_up("mail.regret"), {})
    await plan.parallel(
        plan.step(_made_up("car.hold"), {}, undo=_made_up("car.free")),
        plan.step(_made_up("hotel.hold"), {}, undo=_made_up("hotel.free")),
    )
    await plan.pivot(_made_up("trip.pay"), {})
    await plan.parallel(plan.finish(_made_up("car.collect"), {}), plan.best_effort(_made_up("mail.send"), {}))


def _made_up(name: str) -> Operation[Any, Any]:
    return Operation(name, dict, dict)
