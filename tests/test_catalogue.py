"""A service, or a step of the order process, that is added in one place is missing nowhere else."""

from collections import Counter, defaultdict
from typing import Any

import pytest

from activities.catalogue import SERVICES
from audit import crossing
from contracts import catalogue, inventory
from contracts.choreography import ENDS, EVENTS, PARTICIPANTS, PUBLISHER, CallEvents, Fact
from contracts.message import ListOpen, Reply
from contracts.order import NotificationMode
from temporal_saga import CallKind, Operation, Plan, PlannedCall, Saga
from workflows import order
from workflows.choreography import Reaction

from .roles import plan_in, roles_in
from .tools.left_to_do import left_to_do

_NOT_AUDITED = {"notification"}
"""A message leaves nothing that the audit could compare."""
_NAMES = {service.QUEUE for service in catalogue.SERVICES}

every_mode = pytest.mark.parametrize("mode", NotificationMode)


def test_every_service_of_the_contracts_is_served() -> None:
    assert _NAMES - SERVICES.keys() == set(), "add the ServiceDefinition to activities/catalogue.py"
    assert SERVICES.keys() - _NAMES == set(), "add the contract to contracts/catalogue.py"


@pytest.mark.parametrize("service", sorted(_NAMES))
def test_nothing_is_left_to_do_for_a_service(service: str) -> None:
    """Each place that lists the services by hand names it: code, deployment and documents."""
    assert left_to_do(service) == []


def test_the_sweep_asks_every_service_that_holds_something() -> None:
    holding = {name for name, service in SERVICES.items() if service.holds}
    assert catalogue.HOLDING.keys() == holding, "its contract needs a list_open, and its service lists_open(…)"


def test_the_sweep_ends_the_leases_of_every_service_that_has_them() -> None:
    with_leases = {
        name
        for name, service in SERVICES.items()
        if any("lease_until" in table.c for table in service.metadata.tables.values())
    }
    assert {lease.undo.service for lease in catalogue.LEASES} == with_leases


def test_what_outlives_its_lease_is_undone_by_an_undo_of_the_same_request() -> None:
    for lease in catalogue.LEASES:
        assert lease.undo.undoes is not None
        assert lease.expired.request is ListOpen
        [asked, *_] = lease.expired.reply.model_fields["requests"].annotation.__args__
        assert asked is lease.undo.request


def test_the_audit_knows_what_every_service_of_the_order_process_has_of_an_order() -> None:
    steps = {call.operation.service for mode in NotificationMode for call in _calls(mode) if call.undo is not None}
    missing = steps - _NOT_AUDITED - set(crossing.SERVICES_WITH_TRACES)
    assert missing == set(), "its ServiceDefinition in activities/ needs leaves=Leaves(…)"
    assert crossing.WHOLE.keys() == crossing.NOTHING.keys() == set(crossing.SERVICES_WITH_TRACES) - {"order"}


def test_every_service_and_every_step_of_the_order_process_has_events_of_its_own() -> None:
    made = [each for mode in NotificationMode for each in _calls(mode)]
    called = {call.operation.service for call in made}
    assert called - set(PARTICIPANTS) == set(), "its contract needs facts=Facts(…): the names of its events"
    assert set(PARTICIPANTS) - called == set(), "its contract has facts, and workflows/order.py makes no step of it"
    deciding = {call.operation.name for call in made if call.kind in (CallKind.STEP, CallKind.PIVOT)}
    assert {operation.name for operation in EVENTS} ^ deciding == set(), "the facts of a contract name its steps"
    by_service = {(fact, operation.service) for operation, events in EVENTS.items() for fact in events}
    by_service |= {(fact, service) for service, ends in ENDS.items() for fact in ends}
    assert len(by_service) == len(PUBLISHER), "two services publish one event"


@every_mode
def test_the_choreography_makes_the_steps_and_the_finishes_of_the_plan_and_no_others(mode: NotificationMode) -> None:
    made = [call for role in roles_in(mode).values() for each in (*role.steps, role.finish) for call in each.calls]
    assert Counter(made) == Counter(PlannedCall(call.kind, call.operation, call.request) for call in _calls(mode))


@every_mode
def test_the_choreography_makes_the_undos_of_the_plan_in_reverse_and_no_others(mode: NotificationMode) -> None:
    plan = plan_in(mode)
    undos = defaultdict[str, list[tuple[Operation[Any, Any], Any]]](list)
    for undo, request in reversed(plan.undos):
        undos[undo.service].append((undo, request))
    if plan.rollback_call and plan.rollback_call.operation not in {undo for undo, _ in plan.undos}:
        undos[plan.rollback_call.operation.service].append((plan.rollback_call.operation, plan.rollback_call.request))
    made = {name: [(call.operation, call.request) for call in role.undo.calls] for name, role in roles_in(mode).items()}
    assert made == undos


@every_mode
def test_the_choreography_keeps_the_order_of_the_plan(mode: NotificationMode) -> None:
    """A step and the pivot follow all stages before. After the decision no participant waits for another."""
    roles, earlier = roles_in(mode), set[Operation[Any, Any]]()
    [decider] = (role for role in roles.values() if role.is_decider)
    emitting = {
        each.emits: each for each in (*(step for role in roles.values() for step in role.steps), decider.finish)
    }
    reaction_of = {call.operation: each for role in roles.values() for each in role.reactions for call in each.calls}
    for stage in plan_in(mode).stages:
        for call in stage.calls:
            assert _before(reaction_of[call.operation], emitting) == earlier, call.operation.name
        if stage.kind in (CallKind.STEP, CallKind.PIVOT):
            earlier |= {call.operation for call in stage.calls}
    assert {role.undo.on for role in roles.values() if role is not decider} == {frozenset({decider.undo.emits})}


def test_a_second_step_of_a_service_follows_the_stage_before_it_and_is_undone_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wrap = Operation("inventory.wrap", inventory.ReserveStock, Reply, queue="inventory")
    unwrap = Operation("inventory.unwrap", inventory.ReserveStock, Reply, queue="inventory", undoes=wrap)
    before = order.prepare

    async def prepare(saga: Saga | Plan, requests: order.Requests) -> None:
        await before(saga, requests)
        await saga.step(wrap, requests.stock, undo=unwrap)

    monkeypatch.setattr(order, "prepare", prepare)
    monkeypatch.setitem(EVENTS, wrap, CallEvents(Fact.CUSTOMER_NOTIFIED, Fact.NOTIFICATION_FAILED))
    roles = roles_in(NotificationMode.BEST_EFFORT)
    first, second = roles["inventory"].steps
    assert first.after == frozenset({Fact.ORDER_CREATED})
    *_, before_it, _ = [stage for stage in plan_in(NotificationMode.BEST_EFFORT).stages if stage.kind is CallKind.STEP]
    assert second.after == frozenset(EVENTS[call.operation].done for call in before_it.calls)
    assert [call.operation for call in roles["inventory"].undo.calls] == [unwrap, inventory.release]
    assert Fact.CUSTOMER_NOTIFIED in roles["order"].finish.after
    assert Fact.NOTIFICATION_FAILED in roles["order"].undo.on


def _calls(mode: NotificationMode) -> list[PlannedCall]:
    return [call for stage in plan_in(mode).stages for call in stage.calls]


def _before(reaction: Reaction, emitting: dict[Fact, Reaction]) -> set[Operation[Any, Any]]:
    """All operations that must be done before `reaction` is due."""
    causes = [emitting[fact] for fact in reaction.after if fact in emitting]
    return {call.operation for cause in causes for call in cause.calls}.union(*(_before(e, emitting) for e in causes))
