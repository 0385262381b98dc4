"""The step of a call in the log and on the desk is that call's alone."""

import pytest

from temporal_saga.journal import unique_step


@pytest.mark.parametrize(
    ("names", "steps"),
    [
        ([None, None, None], ["seat.hold", "seat.hold#2", "seat.hold#3"]),
        ([None, "bob", "eve"], ["seat.hold", "seat.hold#bob", "seat.hold#eve"]),
        (["bob", "bob", "bob"], ["seat.hold", "seat.hold#bob", "seat.hold#2"]),
        ([None, "2", None], ["seat.hold", "seat.hold#2", "seat.hold#3"]),
    ],
)
def test_each_call_of_an_operation_has_a_step_of_its_own_whatever_its_name(
    names: list[str | None], steps: list[str]
) -> None:
    taken: list[str] = []
    for name in names:
        taken.append(unique_step("seat.hold", name, taken))
    assert taken == steps
