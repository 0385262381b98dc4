"""The picture of a saga has each call of its plan, in the order of the plan, and with a log the way that it took."""

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from xml.etree import ElementTree as Xml

import pytest

from cli.graph import _plan_of_transaction, plan_of, sample
from cli.mermaid import mermaid
from cli.picture import EdgeKind, Node, Picture, picture_of
from cli.svg import svg
from contracts.order import NotificationMode
from temporal_saga import CallKind, Entry, Operation, Plan, Saga, State, Status, TransactionLog
from workflows import order

from ..roles import made_up_plan, plan_in
from .conftest import Run

_AT = datetime(2026, 1, 1, tzinfo=UTC)


def _entry(step: str, kind: CallKind, status: Status, code: str | None = None) -> Entry:
    return Entry(step, step.partition(".")[0], kind, status, 1, _AT, _AT + timedelta(seconds=1), code)


_ROLLED_BACK = TransactionLog(
    "order/o-1",
    State.ROLLED_BACK,
    steps=(
        _entry("order.create", CallKind.STEP, Status.DONE),
        _entry("payment.authorize", CallKind.STEP, Status.REFUSED, "PAYMENT_DECLINED"),
        _entry("inventory.reserve", CallKind.STEP, Status.DONE),
        _entry("inventory.release", CallKind.UNDO, Status.DONE),
        _entry("order.cancel", CallKind.UNDO, Status.DONE),
        _entry("notification.send_cancellation", CallKind.BEST_EFFORT, Status.DONE),
    ),
)


def _plan(mode: NotificationMode = NotificationMode.BEST_EFFORT) -> Picture:
    return picture_of(plan_in(mode))


def _way(log: TransactionLog = _ROLLED_BACK) -> Picture:
    return picture_of(plan_in(NotificationMode.BEST_EFFORT), log, "order/o-1: ROLLED_BACK")


def _named(picture: Picture, operation: str) -> Node:
    [node] = [node for node in picture.nodes if node.operation == operation]
    return node


def _pairs(picture: Picture, kind: EdgeKind) -> set[tuple[str, str]]:
    names = {node.id: node.operation for node in picture.nodes}
    return {(names[edge.start], names[edge.end]) for edge in picture.edges if edge.kind is kind}


@pytest.mark.parametrize("mode", NotificationMode)
def test_the_picture_has_every_call_of_the_plan_in_its_stage(mode: NotificationMode) -> None:
    plan, picture = plan_in(mode), _plan(mode)
    drawn = [[(node.kind, node.operation) for node in stage] for stage in picture.stages()]
    assert drawn == [[(call.kind, call.operation.name) for call in stage.calls] for stage in plan.stages]
    undos = {(call.operation.name, call.undo.name) for stage in plan.stages for call in stage.calls if call.undo}
    assert _pairs(picture, EdgeKind.UNDO) == undos


def test_a_rollback_is_drawn_against_the_order_of_the_steps_and_ends_with_its_last_call() -> None:
    assert _pairs(picture_of(made_up_plan()), EdgeKind.ROLLBACK) == {
        ("car.free", "trip.cancel"),
        ("hotel.free", "trip.cancel"),
        ("trip.cancel", "mail.regret"),
    }


def test_calls_side_by_side_all_follow_the_stage_before() -> None:
    assert _pairs(picture_of(made_up_plan()), EdgeKind.NEXT) == {
        ("trip.book", "car.hold"),
        ("trip.book", "hotel.hold"),
        ("car.hold", "trip.pay"),
        ("hotel.hold", "trip.pay"),
        ("trip.pay", "car.collect"),
        ("trip.pay", "mail.send"),
    }


def test_the_way_of_an_order_shows_what_was_refused_and_which_undos_ran() -> None:
    picture = _way()
    refused = _named(picture, "payment.authorize")
    assert (refused.status, refused.error_code) == (Status.REFUSED, "PAYMENT_DECLINED")
    ran = {node.operation for node in picture.nodes if node.kind is CallKind.UNDO and node.status is Status.DONE}
    assert ran == {"inventory.release", "order.cancel"}
    assert _named(picture, "shipping.schedule").status is None
    assert _named(picture, "order.confirm").status is None


def test_of_a_call_that_was_made_again_the_last_entry_is_shown() -> None:
    again = replace(_ROLLED_BACK, steps=(*_ROLLED_BACK.steps, _entry("order.cancel#2", CallKind.UNDO, Status.PARKED)))
    assert _named(_way(again), "order.cancel").status is Status.PARKED


def test_mermaid_names_every_call_its_kind_and_its_status() -> None:
    drawn = mermaid(_way())
    assert '(["notification.send_confirmation"])' in drawn
    assert '{{"order.confirm"}}' in drawn
    assert '["payment.authorize<br/>REFUSED PAYMENT_DECLINED"]:::REFUSED' in drawn
    used = set(re.findall(r":::(\w+)", drawn))
    assert used == set(re.findall(r"classDef (\w+)", drawn)) == {"DONE", "REFUSED", "NOT_MADE"}


def test_the_svg_is_xml_in_which_no_box_is_upon_another_and_every_arrow_has_an_end() -> None:
    drawn = Xml.fromstring(svg(_way()))  # noqa: S314 — our own text
    space = "{http://www.w3.org/2000/svg}"
    boxes = [
        (float(box.attrib["x"]), float(box.attrib["y"]), float(box.attrib["width"]), float(box.attrib["height"]))
        for box in drawn.iter(f"{space}rect")
        if "box" in box.attrib["class"]
    ]
    assert len(boxes) == len(_way().nodes)
    for at, (left, top, width, height) in enumerate(boxes):
        for left_2, top_2, width_2, height_2 in boxes[at + 1 :]:
            apart = (
                left + width <= left_2 or left_2 + width_2 <= left or top + height <= top_2 or top_2 + height_2 <= top
            )
            assert apart
    arrows = [way for way in drawn.iter(f"{space}path") if "marker-end" in way.attrib]
    assert len(arrows) == len(_way().edges)
    right, bottom = map(float, drawn.attrib["viewBox"].split()[2:])
    assert all(left + width <= right and top + height <= bottom for left, top, width, height in boxes)


def test_the_svg_has_colours_for_a_light_and_a_dark_page() -> None:
    light, _, dark = svg(_way()).partition("@media (prefers-color-scheme: dark)")
    for name in (".ground", "text", ".DONE", ".REFUSED", ".PARKED"):
        assert f"{name} {{" in light or f"{name}, " in light
        assert f"{name} {{" in dark or f"{name}, " in dark


def test_what_a_document_says_breaks_neither_form() -> None:
    hostile = Picture(title="x\"'<b>\x1b", nodes=[_named(_plan(), "order.create")], edges=[])
    assert "<b>" not in mermaid(hostile)
    assert Xml.fromstring(svg(hostile)) is not None  # noqa: S314 — our own text


def _transaction(**last: Any) -> Plan:
    lines = [{"sku": "BOOK-1", "quantity": 1}]
    reserve: dict[str, Any] = {"name": "goods", "commit": "inventory.reserve", "rollback": "inventory.release"}
    reserve |= {"input": {"order_id": "t-1", "lines": lines}}
    commit: dict[str, Any] = {
        "name": "sold",
        "commit": "inventory.commit",
        "input": {"order_id": "t-1", "lines": lines},
    }
    return _plan_of_transaction({"transaction_id": "t-1", "steps": [reserve, commit | last]})


def test_a_transaction_given_as_data_is_drawn_with_the_names_of_its_steps() -> None:
    picture = picture_of(_transaction())
    assert [(node.name, node.kind) for node in picture.nodes] == [
        ("goods", CallKind.STEP),
        ("sold", CallKind.PIVOT),
        ("goods", CallKind.UNDO),
    ]


def test_a_step_that_a_later_build_has_added_behind_a_guard_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    before = order.prepare

    async def prepare(saga: Saga | Plan, requests: order.Requests) -> None:
        await before(saga, requests)
        if saga.patched("insurance"):
            await saga.step(Operation("insurance.insure", dict, dict, queue="insurance"), {})

    monkeypatch.setattr(order, "prepare", prepare)
    assert "insurance.insure" in {node.operation for node in picture_of(plan_of(sample())).nodes}


def test_without_an_order_the_plan_is_drawn_without_a_server(run: Run) -> None:
    assert run("graph").out.startswith("flowchart LR\n")
    assert run("graph", "--format", "svg").out.startswith("<svg ")
    document = run("graph", "--json").document
    assert {"id", "operation", "kind", "stage", "status"} <= document["nodes"][0].keys()
    assert document["edges"][0].keys() == {"start", "end", "kind"}
    assert json.dumps(document).count("order.confirm") == 1


def test_the_way_of_an_order_needs_a_server(run: Run) -> None:
    assert run("graph", "o-1").code == 3


@pytest.mark.parametrize("status", Status)
def test_every_status_of_a_call_has_a_colour(status: Status) -> None:
    picture = _way(replace(_ROLLED_BACK, steps=(_entry("order.create", CallKind.STEP, status),)))
    assert f"classDef {status} " in mermaid(picture)
    assert svg(picture).count(f".{status}") == 2, "in the light and in the dark"


def test_a_wait_in_the_log_is_no_call_of_the_picture() -> None:
    waited = replace(_ROLLED_BACK, steps=(_entry("approval", CallKind.WAIT, Status.DONE), *_ROLLED_BACK.steps))
    assert _way(waited).nodes == _way().nodes
