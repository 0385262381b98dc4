"""The JSON of a document from outside, read more strictly than Python's and pydantic's readers do."""

from __future__ import annotations

import json
from typing import Any

import pydantic_core


def json_of(text: str) -> Any:
    """The value of a JSON text.

    Raises `ValueError` also for values that JSON cannot carry on (NaN, half a surrogate pair), for input that Python's
    own reader fails on (ten thousand brackets or digits), and for a key that an object has twice.
    """
    try:
        value = pydantic_core.from_json(text, allow_inf_nan=False)  # first, because it bounds depth and digits
    except ValueError as error:
        raise ValueError(f"not JSON: {error}") from error
    require_each_key_once(text)
    return value


def require_each_key_once(text: str | bytes) -> None:
    """Raise `ValueError` if an object in the valid JSON `text` has a key twice.

    A reader would take one of its values, and the writer may have meant the other.
    """
    json.loads(text, object_pairs_hook=_require_each_once)


def _require_each_once(pairs: list[tuple[str, Any]]) -> None:
    keys = [key for key, _ in pairs]
    if len(set(keys)) < len(keys):
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f'the key "{twice[:64]}" is in one object twice; write it once')
