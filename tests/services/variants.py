"""The requests that differ from a given one in a single field. They are made from the request itself, so that a new
field is tried without being named here."""

from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from contracts.message import Request, is_identifying

Path = tuple[str | int, ...]
_TEXTS = ("bob", "pear", "CHF", "FR", "other@example.org", "+4930999999", "required", "batch/another")
"""Values of which every text field accepts some. The services of the tests know customer `bob` and sku `pear`."""


def variants_of(request: Request) -> dict[Path, list[Request]]:
    """The variants by the path of the changed field, nested ones included.

    Without the transaction id, which is the key, and without the fields in which a repeated request may differ.
    """
    document = request.model_dump(mode="json")
    compared = {name for name, field in type(request).model_fields.items() if is_identifying(field)} - {
        "transaction_id"
    }
    places = [path for path in _places(document) if path[0] in compared]
    return {path: list(_changed_at(request, document, path)) for path in places}


def _places(value: Any, path: Path = ()) -> Iterator[Path]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _places(inner, (*path, name))
        return
    yield path
    if isinstance(value, list):
        for at, inner in enumerate(value):
            yield from _places(inner, (*path, at))


def _changed_at(request: Request, document: Any, path: Path) -> Iterator[Request]:
    for value in _others(_at(document, path)):
        try:
            other = type(request).model_validate(_with(document, path, value))
        except ValidationError:
            continue
        if other != request:
            yield other


def _others(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        yield value[:-1]
        for word in _TEXTS:
            yield [*value, {name: word if isinstance(inner, str) else inner for name, inner in value[0].items()}]
    elif isinstance(value, bool):
        yield not value
    elif isinstance(value, int | float):
        yield from (value + 1, value - 1, 1, value * 100)
    else:
        yield from _TEXTS


def _at(document: Any, path: Path) -> Any:
    for key in path:
        document = document[key]
    return document


def _with(document: Any, path: Path, value: Any) -> Any:
    if not path:
        return value
    copy: Any = list(document) if isinstance(document, list) else dict(document)
    copy[path[0]] = _with(document[path[0]], path[1:], value)
    return copy
