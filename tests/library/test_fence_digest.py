"""The digest of a request: the same for the same request, whatever its type, its builds and the order of its keys."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum, StrEnum
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel, Field

from temporal_saga.fence.digest import as_json, canonical, digest


class Size(StrEnum):
    SMALL = "SMALL"


class Stars(Enum):
    THREE = 3


@dataclass(frozen=True)
class Guest:
    name: str
    born: datetime


@dataclass(frozen=True)
class Stay:
    guest: Guest
    size: Size = Size.SMALL
    notes: list[str] = field(default_factory=list)


class Model(BaseModel):
    guest: Guest
    size: Size = Size.SMALL
    notes: list[str] = Field(default_factory=list)


BORN = datetime(1990, 1, 2, tzinfo=UTC)
ADA = Guest("Ada", BORN)


def test_the_order_of_keys_does_not_count() -> None:
    assert digest({"a": 1, "b": {"c": [1, 2], "d": None}}) == digest({"b": {"d": None, "c": [1, 2]}, "a": 1})
    assert digest({"a": [1, 2]}) != digest({"a": [2, 1]})


def test_a_field_at_its_default_is_as_good_as_no_field() -> None:
    assert canonical(Stay(ADA)) == canonical(Stay(ADA, Size.SMALL, [])) == canonical({"guest": ADA})
    assert digest(Stay(ADA, notes=["quiet"])) != digest(Stay(ADA))


def test_a_dataclass_and_a_dict_of_the_same_content_have_the_same_digest() -> None:
    assert digest(Stay(ADA, notes=["quiet"])) == digest({"guest": {"name": "Ada", "born": BORN}, "notes": ["quiet"]})


def test_a_pydantic_model_has_the_json_of_temporals_converter_without_its_defaults() -> None:
    assert canonical(Model(guest=ADA)) == '{"guest":{"born":"1990-01-02T00:00:00Z","name":"Ada"}}'
    assert as_json(Model(guest=ADA)) == (
        '{"guest": {"name": "Ada", "born": "1990-01-02T00:00:00Z"}, "size": "SMALL", "notes": []}'
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Stars.THREE, "3"),
        (Size.SMALL, '"SMALL"'),
        (UUID(int=7), '"00000000-0000-0000-0000-000000000007"'),
        (BORN, '"1990-01-02T00:00:00+00:00"'),
        (BORN.date(), '"1990-01-02"'),
        ((1, [None, True]), "[1,[null,true]]"),
        ("Zoë", '"Zo\\u00eb"'),
    ],
    ids=str,
)
def test_a_value_has_one_text(value: Any, text: str) -> None:
    assert canonical(value) == text


@pytest.mark.parametrize("value", [{1, 2}, b"bytes", object(), Stay], ids=["set", "bytes", "object", "class"])
def test_what_has_no_canonical_json_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="is not JSON: the fence takes dicts, dataclasses and pydantic models"):
        digest({"value": value})
