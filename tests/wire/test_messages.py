"""No message changes in a way that breaks a running build."""

from typing import Any

import pytest

from contracts.message import Message, NotIdentifying, identity, same

from . import record

FIELD: dict[str, Any] = {"type": {"type": "string"}, "default": False, "added": False}
OPTIONAL = FIELD | {"default": True}
BEFORE: record.Record = {"Charge": {"amount": FIELD}, "Mode": {"fast": {}}}


def test_every_message_can_be_exchanged_with_the_builds_that_run() -> None:
    assert record.breaks(record.recorded(), record.record(), record.requests()) == []


def test_every_message_is_recorded() -> None:
    assert record.recorded() == record.record(), "a message has grown: run `python -m tests.wire`"


@pytest.mark.parametrize(
    ("now", "why"),
    [
        ({}, "Charge is gone"),
        ({"Charge": {}}, "Charge.amount is gone"),
        ({"Charge": {"amount": OPTIONAL}}, "Charge.amount has changed"),
        ({"Charge": {"amount": FIELD, "gift": FIELD | {"added": True}}}, "Charge.gift is new and has no default"),
        ({"Charge": {"amount": FIELD, "gift": OPTIONAL}}, "Charge.gift is new in a request"),
        ({"Mode": {}}, "Mode.fast is gone"),
    ],
)
def test_a_change_that_a_running_build_cannot_follow_is_named(now: record.Record, why: str) -> None:
    [problem] = record.breaks(BEFORE, BEFORE | now if now else {"Mode": {"fast": {}}}, {"Charge"})
    assert problem.startswith(why)


@pytest.mark.parametrize(
    "now",
    [
        {"Charge": {"amount": FIELD, "gift": OPTIONAL | {"added": True}}},
        {"Receipt": {"number": FIELD}},
        {"Mode": {"fast": {}, "slow": {}}},
    ],
)
def test_what_may_be_added(now: record.Record) -> None:
    assert record.breaks(BEFORE, BEFORE | now, {"Charge"}) == []


class Line(Message):
    sku: str
    colour: NotIdentifying[str | None] = None


class Basket(Message):
    lines: tuple[Line, ...]
    main: Line
    note: str = ""
    gift: NotIdentifying[bool] = False


def test_a_field_that_is_not_identifying_is_no_part_of_what_a_message_is() -> None:
    plain = Basket(lines=(Line(sku="a"),), main=Line(sku="b"))
    grown = Basket(lines=(Line(sku="a", colour="red"),), main=Line(sku="b", colour="blue"), gift=True)
    assert identity(plain) == identity(grown) == '{"lines":[{"sku":"a"}],"main":{"sku":"b"}}'
    assert identity(plain) != identity(plain.model_copy(update={"note": "n"}))


class _Before(Message):
    name: str


class _Later(_Before):
    gift: NotIdentifying[bool] = False


def test_a_message_is_the_same_one_for_builds_a_field_apart_and_another_with_another_value() -> None:
    assert same(_Later(name="a", gift=True), _Later(name="a"))
    assert same(_Before(name="a"), _Later(name="a", gift=True))
    assert not same(_Later(name="a"), _Later(name="b"))
    assert not same(None, _Later(name="a"))
