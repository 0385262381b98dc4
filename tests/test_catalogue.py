"""A service, or a step of the order process, that is added in one place is missing nowhere else."""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from activities.catalogue import SERVICES
from audit import crossing
from contracts import catalogue
from contracts.choreography import EVENTS, PARTICIPANTS, PUBLISHER, Fact
from contracts.message import ListOpen
from contracts.order import NotificationMode
from saga import CallKind, Operation, PlannedCall
from workflows.choreography import Reaction

from .roles import plan_in, roles_in

_HOLDS_NOTHING = {"notification"}
"""Services with nothing to give back. Any other says with `list_open` which transactions it holds something for."""
_NAMES = {service.QUEUE for service in catalogue.SERVICES}

every_mode = pytest.mark.parametrize("mode", NotificationMode)


def test_every_service_of_the_contracts_is_served() -> None:
    assert SERVICES.keys() == _NAMES


def test_every_service_is_held_to_never_see_its_siblings() -> None:
    [rule] = [
        contract
        for contract in tomllib.loads(Path("pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
        if contract["type"] == "independence"
    ]
    assert set(rule["modules"]) == {f"activities.{name}" for name in _NAMES}


def test_the_sweep_asks_every_service_that_holds_something() -> None:
    assert catalogue.HOLDING.keys() == _NAMES - _HOLDS_NOTHING


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


def test_the_audit_knows_what_every_service_that_holds_something_has_of_an_order() -> None:
    assert set(crossing.SERVICES_WITH_TRACES) == catalogue.HOLDING.keys()
    assert crossing.WHOLE.keys() == crossing.NOTHING.keys() == catalogue.HOLDING.keys() - {"order"}


def test_every_service_of_the_order_process_has_events_of_its_own() -> None:
    services = {call.operation.service for mode in NotificationMode for _, call in _calls(mode)}
    assert set(PARTICIPANTS) == services
    assert len(PUBLISHER) == sum(len({*vars(events).values()} - {None}) for events in EVENTS.values())


@every_mode
def test_the_choreography_makes_the_steps_and_the_finishes_of_the_plan_and_no_others(mode: NotificationMode) -> None:
    made = [reaction for role in roles_in(mode).values() for reaction in (role.forward, role.finish)]
    assert Counter(_made(made)) == Counter((kind, call.operation, call.request) for kind, call in _calls(mode))


@every_mode
def test_the_choreography_makes_the_undos_of_the_plan_and_no_others(mode: NotificationMode) -> None:
    plan, roles = plan_in(mode), roles_in(mode)
    rollback_call = [(plan.rollback_call.operation, plan.rollback_call.request)] if plan.rollback_call else []
    made = [(operation, request) for _, operation, request in _made(role.undo for role in roles.values())]
    assert Counter(made) == Counter([*plan.undos, *(call for call in rollback_call if call not in plan.undos)])
    for _, call in _calls(mode):
        undo = roles[call.operation.service].undo
        assert call.undo in (None, undo.call and undo.call.operation)


@every_mode
def test_the_choreography_keeps_the_order_of_the_plan(mode: NotificationMode) -> None:
    """A step and the pivot follow all stages before. After the decision no participant waits for another."""
    roles, earlier = roles_in(mode), set[Operation[Any, Any]]()
    [decider] = (role for role in roles.values() if role.is_decider)
    emitting = {role.forward.emits: role.forward for role in roles.values() if role.forward}
    emitting[decider.finish.emits] = decider.finish
    for stage in plan_in(mode).stages:
        for call in stage.calls:
            role = roles[call.operation.service]
            reaction = role.forward if stage.kind is CallKind.STEP else role.finish
            assert reaction is not None
            assert _before(reaction, emitting) == earlier, call.operation.name
        if stage.kind in (CallKind.STEP, CallKind.PIVOT):
            earlier |= {call.operation for call in stage.calls}
    assert {role.undo.on for role in roles.values() if role is not decider} == {frozenset({decider.undo.emits})}


def _calls(mode: NotificationMode) -> list[tuple[CallKind, PlannedCall]]:
    return [(stage.kind, call) for stage in plan_in(mode).stages for call in stage.calls]


def _made(reactions: Iterable[Reaction | None]) -> list[tuple[CallKind, Operation[Any, Any], Any]]:
    return [(each.kind, each.call.operation, each.call.request) for each in reactions if each and each.call]


def _before(reaction: Reaction, emitting: dict[Fact, Reaction]) -> set[Operation[Any, Any]]:
    """All operations that must be done before `reaction` is due."""
    causes = [emitting[fact] for fact in reaction.after if fact in emitting]
    found = {cause.call.operation for cause in causes if cause.call}
    return found.union(*(_before(cause, emitting) for cause in causes))
