"""The command of `starter.py` that an operator runs for a parked call. The Web UI and `desk list` show it."""

from contracts.errors import Code
from temporal_saga import Parked, Remedy

_NEEDS_ANOTHER_REQUEST = (Code.IDEMPOTENCY_CONFLICT, Code.INVALID_REQUEST)
"""What the service will answer to the same request for ever."""


def command_for(known_as: str, parked: Parked) -> str:
    """`known_as` is the id of the order or of the transaction."""
    verb = "show" if parked.error.code in _NEEDS_ANOTHER_REQUEST else "retry"
    return f"starter.py desk {verb} {known_as} {parked.step}"


def remedy_for(known_as: str) -> Remedy:
    return lambda parked: command_for(known_as, parked)
