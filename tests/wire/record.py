"""The record of all messages, and the rules for changes to them."""

import json
from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter

from contracts import batch, choreography, erasure, lane, outline, recovery, retention, transaction
from contracts.catalogue import OPERATIONS
from contracts.message import Message, is_identifying
from temporal_saga import Fix, Operation, Parked, Retry, Skip, State, Status, TransactionLog

FILE = Path(__file__).with_name("messages.json")
_OURS = ("contracts.",)
_DATACLASSES = (TransactionLog, Parked, Retry, Skip, Fix)
"""The messages of the kernel, which does not use pydantic: updates, and the replies to queries."""
_OTHER_OPERATIONS: tuple[Operation[Any, Any], ...] = (
    *choreography.PUBLISHING.values(),
    lane.await_close,
    recovery.sweep,
    *(each for of_service in (retention.LIST_OLD, retention.RETIRE) for each in of_service.values()),
    *(each for of_service in (erasure.FIND, erasure.ERASE) for each in of_service.values()),
)
_ALL_MODULES = (batch, outline, transaction)
"""Modules that are imported only for their messages."""

Record = dict[str, dict[str, Any]]


def record() -> Record:
    """Every message, by name: its fields, or the values of an enumeration."""
    found: Record = {}
    for model in sorted(set(_messages(Message)), key=lambda each: each.__name__):
        found[model.__name__] = {name: _field(model, name) for name in model.model_fields}
    for kind in _DATACLASSES:
        found |= _of_dataclass(kind)
    for enum in sorted(_enumerations(StrEnum), key=lambda each: each.__name__):
        found[enum.__name__] = {str(value): {} for value in enum}
    return found


def breaks(before: Record, now: Record, requests: Iterable[str]) -> list[str]:
    """The reasons why a build with the messages `now` cannot run beside one with those of `before`, as sentences.

    `requests` names the messages that are requests of operations, and those within them.
    """
    problems = [f"{name} is gone: running builds still send it, so keep it" for name in before if name not in now]
    for name, fields in now.items():
        known = before.get(name, fields)
        problems += [
            f"{name}.{field} is gone: running builds still need it, so keep it" for field in known.keys() - fields
        ]
        for field, shape in fields.items():
            if field not in known:
                problems += _additions(f"{name}.{field}", shape, in_request=name in requests)
            elif shape != known[field]:
                problems.append(
                    f"{name}.{field} has changed: what was valid must stay valid, for it is under way and on record; "
                    "a new limit is for what people write (contracts.message.WRITTEN), a new meaning for a new field"
                )
    return problems


def _additions(field: str, shape: dict[str, Any], *, in_request: bool) -> Iterator[str]:
    if shape and not shape["default"]:
        yield f"{field} is new and has no default: running builds do not send it, so give it one"
    if shape and in_request and not shape["added"]:
        yield f"{field} is new in a request: declare it NotIdentifying, or a repeated one is taken for another"


def requests() -> set[str]:
    """The names of the requests of all operations, and of the messages within them."""
    models = [operation.request for operation in (*OPERATIONS.values(), *_OTHER_OPERATIONS)]
    names = {name for model in models for name in model.model_json_schema().get("$defs", {})}
    return names | {model.__name__ for model in models}


def recorded() -> Record:
    found: Record = json.loads(FILE.read_text())
    return found


def write() -> None:
    """Write the record, with a line for each field."""
    messages = []
    for name, fields in record().items():
        lines = [f"  {json.dumps(field)}: {json.dumps(shape, sort_keys=True)}" for field, shape in fields.items()]
        messages.append(f" {json.dumps(name)}: {{\n" + ",\n".join(lines) + "\n }")
    FILE.write_text("{\n" + ",\n".join(messages) + "\n}\n")


def _messages(parent: type[Message]) -> Iterator[type[Message]]:
    for model in parent.__subclasses__():
        yield from _messages(model)
        is_batch = bool(model.__pydantic_generic_metadata__["args"])  # its requests are recorded themselves
        if model.__module__.startswith(_OURS) and not is_batch:
            yield model


def _enumerations(parent: type[StrEnum]) -> Iterator[type[StrEnum]]:
    """The enumerations of the contracts and of the kernel's log. Codes are left out: on the wire they are text."""
    ours = [each for each in parent.__subclasses__() if each.__module__.startswith(_OURS) and each.__name__ != "Code"]
    return iter([*ours, State, Status])


def _field(model: type[BaseModel], name: str) -> dict[str, Any]:
    field = model.model_fields[name]
    schema = model.model_json_schema()["properties"][name]
    return {"type": _form(schema), "default": not field.is_required(), "added": not is_identifying(field)}


def _of_dataclass(kind: type[Any]) -> Record:
    schema = TypeAdapter(kind).json_schema()
    forms = {kind.__name__: schema} | {n: d for n, d in schema.get("$defs", {}).items() if "properties" in d}
    return {
        name: {
            field: {"type": _form(shape), "default": field not in form.get("required", ()), "added": False}
            for field, shape in form["properties"].items()
        }
        for name, form in forms.items()
    }


def _form(schema: Any) -> Any:
    """A schema without the parts that are for people."""
    if isinstance(schema, dict):
        return {key: _form(inner) for key, inner in schema.items() if key not in ("title", "description", "default")}
    return [_form(inner) for inner in schema] if isinstance(schema, list) else schema
