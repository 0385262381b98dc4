"""What a call or a whole saga changed in the business state, as numbers that can be added and compared.

A snapshot has a number for each place: a number in the state is itself, anything else counts as one of its text. So an
undo that undoes its step exactly has the step's changes with the other sign.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Set
from decimal import Decimal
from enum import Enum
from math import isfinite
from typing import Any, TypeAlias

Place: TypeAlias = tuple[str, str | None]
"""The path of a number, or the path and the text of another value."""
Changes: TypeAlias = dict[Place, Decimal]
"""How much each place changed. Places without a change are not in it."""

_THE_ID = "<id>"


def flat(state: Any, case_id: str) -> Changes:
    """A snapshot of a state. The id of the case is written as `<id>`, so that cases can be compared."""
    found: dict[Place, Decimal] = {}
    for path, text, value in _places((), state):
        place = _without_id(".".join(path) or "state", text, case_id)
        found[place] = found.get(place, Decimal(0)) + value
    return found


def plus(one: Changes, other: Changes) -> Changes:
    return {place: total for place in one | other if (total := one.get(place, 0) + other.get(place, Decimal(0)))}


def less(one: Changes, other: Changes) -> Changes:
    return plus(one, {place: -change for place, change in other.items()})


def described(found: Changes) -> str:
    """The changes in one line: `flight.seats -1, flight.bookings.<id> is 'HELD'`."""
    return ", ".join(_described(*place, change) for place, change in sorted(found.items(), key=str)) or "nothing"


def _described(path: str, text: str | None, change: Decimal) -> str:
    if text is None:
        return f"{path} {change:+f}"
    times = f" ({abs(change):f} times)" if abs(change) != 1 else ""
    return f"{path} {'has' if change > 0 else 'no longer has'} {text}{times}"


def _without_id(path: str, text: str | None, case_id: str) -> Place:
    return path.replace(case_id, _THE_ID), None if text is None else text.replace(case_id, _THE_ID)


def _places(path: tuple[str, ...], value: Any) -> Iterator[tuple[tuple[str, ...], str | None, Decimal]]:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {each.name: getattr(value, each.name) for each in dataclasses.fields(value)}
    elif callable(dump := getattr(value, "model_dump", None)):  # a pydantic model
        value = dump()
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _places((*path, str(key)), inner)
    elif isinstance(value, list | tuple | Set):
        for element in value:
            yield path, repr(element), Decimal(1)
    elif _is_number(value):
        yield path, None, Decimal(str(value))
    else:
        yield path, repr(value), Decimal(1)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool | Enum) and isfinite(value)
