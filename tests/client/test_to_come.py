"""The steps to come: with what a log has at a moment, they are what it has at the end."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from cli.graph import plan_of
from client.engines.engine import OrderStatus
from client.to_come import to_come
from contracts.ids import Coordinator
from contracts.outline import Outline
from temporal_saga import CallKind, Failure, Plan, State, Step, TransactionLog, run_in_order
from temporal_saga.operation import Operation
from tests.recorded import order_in, outcomes
from tests.roles import made_up_plan

_ORDERS = [name for name in outcomes() if name.startswith(("demo-", "parked-", "cancelled-"))]


def _moments(end: TransactionLog) -> Iterator[TransactionLog]:
    """The log as it was after each of its steps; the state is that of the direction in which the saga went."""
    for made in range(len(end.steps) + 1):
        steps = end.steps[:made]
        goes_back = end.error is not None and _is_rollback(end, made)
        state, error = (State.COMPENSATING, end.error) if goes_back else (State.RUNNING, None)
        yield TransactionLog(end.transaction_id, state, error, steps)


def _is_rollback(end: TransactionLog, made: int) -> bool:
    """Whether all the steps of the body were made, so that the next call is an undo."""
    first_undo = next((at for at, entry in enumerate(end.steps) if entry.kind is CallKind.UNDO), len(end.steps))
    return made >= first_undo


def _status(log: TransactionLog, *, closed: bool = False) -> OrderStatus:
    return OrderStatus(log, closed=closed, coordinator=Coordinator.parse(log.transaction_id))


def _outline(name: str) -> Outline:
    return Outline.of(plan_of(order_in(name)))


@pytest.mark.parametrize("name", _ORDERS)
def test_at_each_moment_the_log_and_the_steps_to_come_are_the_log_at_the_end(name: str) -> None:
    end, outline = outcomes()[name], _outline(name)
    wanted = {(entry.step, entry.kind) for entry in end.steps}
    body = {(call.operation, call.kind) for stage in outline.stages for call in stage}
    for moment in _moments(end):
        made = {(entry.step, entry.kind) for entry in moment.steps}
        coming = [(step.step, step.kind) for step in to_come(_status(moment), outline)]
        assert not made & set(coming)
        goes_forward = moment.state is State.RUNNING and not end.state.is_confirmed
        assert made | set(coming) == (body if goes_forward else wanted)


@pytest.mark.parametrize("name", ["demo-confirmed", "demo-poor"])
def test_a_saga_that_has_ended_has_nothing_to_come(name: str) -> None:
    assert to_come(_status(outcomes()[name], closed=True), _outline(name)) == ()


def test_a_saga_that_was_closed_from_outside_has_nothing_to_come() -> None:
    cut = TransactionLog("order/o-1", State.RUNNING, None, outcomes()["demo-confirmed"].steps[:2])
    assert to_come(_status(cut, closed=True), _outline("demo-confirmed")) == ()


def test_an_order_that_a_pause_holds_up_goes_on_forward() -> None:
    paused = TransactionLog("order/o-1", State.RUNNING, Failure("PAUSED", "paused by ann"), ())
    coming = to_come(_status(paused), _outline("demo-confirmed"))
    assert coming[0].step == "order.create"


def test_the_calls_of_one_stage_are_told_as_one() -> None:
    coming = to_come(_status(TransactionLog("order/o-1", State.RUNNING)), Outline.of(made_up_plan()))
    assert [(step.step, step.stage) for step in coming] == [
        ("trip.book", 0),
        ("car.hold", 1),
        ("hotel.hold", 1),
        ("trip.pay", 2),
        ("car.collect", 3),
        ("mail.send", 3),
    ]


def test_a_choreographed_rollback_undoes_each_service_and_calls_its_pivot_an_undo_only_once() -> None:
    made = outcomes()["choreography-choreographed-refused-order"]
    back = TransactionLog(made.transaction_id, State.COMPENSATING, made.error, made.steps)
    status = OrderStatus(back, closed=False, coordinator=Coordinator.parse("choreography/o-1/order"))
    steps = [step.step for step in to_come(status, _outline("demo-poor"))]
    plan = plan_of(order_in("demo-poor"))
    assert plan.rollback_call is not None
    undos = {undo.name for undo, _ in plan.undos} - {"order.cancel"}
    assert sorted(steps) == sorted({*undos, plan.rollback_call.operation.name})


def test_a_repeated_operation_of_a_transaction_is_named_as_the_log_will_name_it() -> None:
    hold, free = (Operation(f"stock.{name}", dict, dict, queue="stock") for name in ("hold", "free"))
    steps = [Step(hold, free, {}, timedelta(seconds=5), name=name) for name in ("one", "two")]
    plan = Plan()
    plan.follow(run_in_order(plan, steps))
    log = TransactionLog("t-1", State.RUNNING)
    assert [step.step for step in to_come(_status(log), Outline.of(plan))] == ["stock.hold", "stock.hold#two"]
