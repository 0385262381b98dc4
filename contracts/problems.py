"""Messages for people about input that does not fit a model."""

from __future__ import annotations

from pydantic import ValidationError

_IN_WORDS = {"model_type": "must be a JSON object", "string_pattern_mismatch": "has characters that are not allowed"}
"""Messages in place of pydantic's, which name our classes and regular expressions."""


def first_problem(error: ValidationError) -> str:
    """One line with the field, its problem and the number of further problems. It never shows the input."""
    problems = error.errors(include_url=False, include_input=False, include_context=False)
    first = problems[0]
    field = ".".join(str(part) for part in first["loc"])
    message = _IN_WORDS.get(first["type"]) or first["msg"].removeprefix("Value error, ")
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"{field}: {message}{more}" if field else f"{message}{more}"
