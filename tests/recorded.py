"""The outcomes in the recorded histories of orders and transactions: real logs, of every way to end."""

import base64
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from contracts.order import Order
from temporal_saga import TransactionLog

_HISTORIES = Path(__file__).with_name("histories")
_LOG = TypeAdapter(TransactionLog)


@cache
def outcomes() -> dict[str, TransactionLog]:
    """The log with which a workflow ended, by the name of its history; some workflows have none."""
    found = {path.stem: _end_of(path) for path in sorted(_HISTORIES.glob("*.json"))}
    return {name: _LOG.validate_python(end) for name, end in found.items() if end is not None}


def order_in(name: str) -> Order:
    """The order that the workflow of a history was started with."""
    first, *_ = _events(_HISTORIES / f"{name}.json")
    return Order.model_validate(next(_payloads(first["workflowExecutionStartedEventAttributes"]["input"])))


def _end_of(path: Path) -> Any:
    last = _events(path)[-1]
    completed, failed = (last.get(f"workflowExecution{end}EventAttributes") for end in ("Completed", "Failed"))
    if completed:
        result = next(_payloads(completed["result"]))
        # A participant's has its log beside the events that it published.
        result = result.get("log", result) if isinstance(result, dict) else None
    else:
        result = next(_payloads(failed["failure"]["applicationFailureInfo"]["details"])) if failed else {}
    return result if isinstance(result, dict) and "steps" in result else None


def _events(path: Path) -> list[Any]:
    events: list[Any] = json.loads(path.read_text())["events"]
    return events


def _payloads(holder: dict[str, Any]) -> Iterator[Any]:
    return (json.loads(base64.b64decode(each.get("data", "")) or "null") for each in holder["payloads"])
