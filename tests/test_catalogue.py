"""A service, or a step of the order process, that is added in one place is missing nowhere else."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from activities.catalogue import SERVICES
from audit import crossing
from cli.documents import document
from contracts import catalogue
from contracts.choreography import CHOREOGRAPHY, PARTICIPANTS, Part
from contracts.message import ListOpen
from contracts.order import NotificationMode, Order
from saga import Operation
from workflows.order import Requests, planned

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


@every_mode
def test_the_choreography_makes_the_calls_of_the_order_process_and_no_others(mode: NotificationMode) -> None:
    assert _choreographed(mode) == _planned(mode)
    assert set(PARTICIPANTS) == {operation.service for operation in _planned(mode)}


@every_mode
def test_a_step_is_undone_by_the_same_call_with_and_without_an_orchestrator(mode: NotificationMode) -> None:
    pairs = {
        (call.operation, call.undo) for stage in _plan(mode).stages for call in stage.calls if call.undo is not None
    }
    assert {
        (part.forward.does, part.undo.does) for part in CHOREOGRAPHY[mode].values() if part.forward is not None
    } == pairs


def _plan(mode: NotificationMode) -> Any:
    line = {"sku": "BOOK-1", "quantity": 1, "unit_price_minor": 1}
    placed = Order.model_validate(document("o-1", "c-1", [line]) | {"notification": mode})
    return planned(Requests.of(placed))


def _planned(mode: NotificationMode) -> set[Operation[Any, Any]]:
    plan = _plan(mode)
    calls = [*(call for stage in plan.stages for call in stage.calls), plan.rollback_call]
    return {call.operation for call in calls} | {call.undo for call in calls if call.undo is not None}


def _choreographed(mode: NotificationMode) -> set[Operation[Any, Any]]:
    return {operation for part in CHOREOGRAPHY[mode].values() for operation in _calls_of(part)}


def _calls_of(part: Part) -> Iterator[Operation[Any, Any]]:
    return (reaction.does for reaction in part.reactions if reaction.does is not None)
