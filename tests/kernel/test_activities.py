"""A saga calls plain activities: it needs no declaration of what an activity knows already."""

from collections.abc import Awaitable, Callable

import pytest

from temporal_saga import CallKind, Operation, Plan

from .agency import Agency, Booked, body, confirm
from .how_to import Services


def test_a_plan_follows_a_body_of_plain_activities() -> None:
    plan = Plan()
    plan.follow(body(plan, "rome"))
    called = [(call.kind, call.operation.name) for stage in plan.stages for call in stage.calls]
    assert called == [
        (CallKind.STEP, "book_flight"),
        (CallKind.STEP, "hotel.book"),
        (CallKind.PIVOT, "confirm"),
        (CallKind.FINISH, "ticket"),
        (CallKind.BEST_EFFORT, "tell"),
    ]
    assert [undo.name for undo, _ in plan.undos] == ["cancel_flight", "hotel.cancel"]


def test_a_declaration_is_made_from_the_name_and_types_of_an_activity() -> None:
    assert Operation.of(Agency.book_hotel, queue="hotels") == Operation("hotel.book", str, Booked, "hotels")
    assert Operation.of(confirm) == Operation("confirm", str, str)


@pytest.mark.parametrize("call", [print, "hotel.book"])
def test_what_is_no_activity_is_refused_with_its_name(call: Callable[[str], Awaitable[None]]) -> None:
    with pytest.raises(TypeError, match=r"is no activity with a name: it needs @activity\.defn"):
        Operation.of(call)


def test_an_activity_with_two_arguments_can_only_be_an_undo_which_takes_the_reply_of_its_step() -> None:
    assert Operation.undo_of(Services.cancel_courier) == Operation("cancel_courier", str, type(None), takes_reply=True)
    assert not Operation.undo_of(Services.withdraw).takes_reply
    with pytest.raises(TypeError, match="cancel_courier takes two arguments: only an undo"):
        Operation.of(Services.cancel_courier)  # type: ignore[arg-type]  # what a type checker says first
