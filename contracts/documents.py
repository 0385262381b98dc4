"""The JSON of a document from outside, read more strictly than Python's and pydantic's readers do."""

import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import pydantic_core
from pydantic import BaseModel, ValidationError

from contracts.problems import first_problem

Model = TypeVar("Model", bound=BaseModel)


class Invalid(NamedTuple):
    document: Any
    problem: str


def parse_each(
    model: type[Model],
    document: bytes,
    all_valid: Callable[[bytes], Sequence[Model]],
    any_valid: Callable[[bytes], Sequence[Any]],
) -> tuple[dict[int, Model], dict[int, Invalid]]:
    """The valid ones and the invalid ones of a list of documents, by place in the list.

    `all_valid` reads the list at once, which is several times faster. Only if one of them is invalid, `any_valid` reads
    the list as values, which become a `model` one by one. Raises `ValidationError` if `document` is not a list.
    """
    try:
        return dict(enumerate(all_valid(document))), {}
    except ValidationError:
        pass
    valid, invalid = dict[int, Model](), dict[int, Invalid]()
    for place, one in enumerate(any_valid(document)):
        try:
            valid[place] = model.model_validate(one)
        except ValidationError as error:
            invalid[place] = Invalid(one, first_problem(error))
    return valid, invalid


def json_of(text: str) -> Any:
    """The value of a JSON text.

    Raises `ValueError` also for values that JSON cannot carry on (NaN, half a surrogate pair), for input that Python's
    own reader fails on (ten thousand brackets or digits), for a key that an object has twice, and for no text at all.
    """
    if not text.strip():
        raise ValueError("not JSON: it is empty; write a document")
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
