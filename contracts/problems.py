"""Messages for people about input that does not fit a model."""

import re
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError

_IN_WORDS = {
    "model_type": "must be a JSON object",
    "string_pattern_mismatch": "has characters that are not allowed",
    "missing": "is required and missing",
    "extra_forbidden": "is not permitted: there is no such field; look for a typo",
    "string_type": "must be text",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_parsing_size": "must be a whole number, and a smaller one",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "dict_type": "must be a JSON object",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "greater_than": "must be more than {gt}",
    "less_than": "must be less than {lt}",
    "too_short": "must have at least {min_length}, and has {actual_length}",
    "too_long": "must have at most {max_length}",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "timezone_aware": "must have a time zone, such as Z for UTC",
    "enum": "must be one of {expected}",
    "literal_error": "must be one of {expected}",
}
"""Messages in place of pydantic's, which name our classes, its own types and regular expressions."""
_TO_THE_READER = re.compile(r"^(Input|Value|String|List|Tuple|Dictionary) should ")
"""The beginning of pydantic's other messages."""


def first_problem(error: ValidationError) -> str:
    """One line with the field, its problem and the number of further problems. It never shows the input."""
    problems = _without_echoes(error.errors(include_url=False))
    first = problems[0]
    field = ".".join(str(part) for part in first["loc"])
    message = _words(first)
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"{field}: {message}{more}" if field else f"{message}{more}"


def _without_echoes(problems: Sequence[Any]) -> list[Any]:
    """The problems but for lists that pydantic calls too short because it counts only their valid members."""
    within = {problem["loc"][:depth] for problem in problems for depth in range(len(problem["loc"]))}
    return [problem for problem in problems if problem["type"] != "too_short" or problem["loc"] not in within]


def _words(problem: Any) -> str:
    words = _IN_WORDS.get(problem["type"])
    if words is None:
        return _TO_THE_READER.sub("must ", str(problem["msg"]).removeprefix("Value error, "))
    context = problem.get("ctx", {})
    return words.format_map(context) + _meant(problem["input"], str(context.get("expected", "")))


def _meant(given: Any, expected: str) -> str:
    """What was probably meant, of the values in quotes that pydantic expects: a constant of ours, and no input."""
    likely = get_close_matches(str(given)[:100].casefold(), expected.split("'")[1::2], 1)
    return f"; did you mean '{likely[0]}'?" if likely else ""
