"""Requests and replies as JSON, and the digest by which the fence compares two requests.

A message is JSON, with dataclasses, pydantic models, enumerations, dates, times and UUIDs inside each other. A set has
no order: it is refused, but for one in a pydantic model, which then has no stable digest.
"""

import dataclasses
import hashlib
import json
from datetime import date, time
from enum import Enum
from functools import partial
from typing import Any
from uuid import UUID


def digest(request: Any) -> str:
    """The SHA-256 of `canonical(request)`, in hexadecimal digits."""
    return hashlib.sha256(canonical(request).encode()).hexdigest()


def canonical(request: Any) -> str:
    """The one JSON text of a request, whatever the order of its keys: compact, with sorted keys.

    A field of a dataclass or a model at its default is left out, as if it were not there. So a field that is added
    with a default leaves the digest of older requests, and builds may run side by side. A default must never change.
    Raises `TypeError` for what is not JSON.
    """
    inside = partial(_inside, without_defaults=True)
    return json.dumps(request, sort_keys=True, separators=(",", ":"), default=inside)


def as_json(reply: Any) -> str:
    """The JSON text of a reply. Raises `TypeError` for what is not JSON."""
    return json.dumps(reply, default=partial(_inside, without_defaults=False))


def _inside(value: Any, *, without_defaults: bool) -> Any:
    """What stands for a value that `json` does not know; it may have such values inside."""
    if hasattr(value, "model_dump"):  # a pydantic model, written as Temporal's converter for pydantic does
        return value.model_dump(mode="json", by_alias=True, exclude_defaults=without_defaults)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = ((field, getattr(value, field.name)) for field in dataclasses.fields(value))
        return {field.name: each for field, each in fields if not (without_defaults and _is_default(field, each))}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, (date, time)):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    raise TypeError(f"{type(value).__name__} is not JSON: the fence takes dicts, dataclasses and pydantic models")


def _is_default(field: dataclasses.Field[Any], value: Any) -> bool:
    if field.default_factory is not dataclasses.MISSING:
        return bool(value == field.default_factory())
    return field.default is not dataclasses.MISSING and bool(value == field.default)
