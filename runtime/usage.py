"""The words for a command line that is not understood: what is wrong, and what was probably meant."""

import re
import sys
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError
from typer.exceptions import TyperException

from contracts.problems import first_problem

_NEGATIVE = re.compile(r"-[0-9]")
_UNLIKE = re.compile(r"'(?P<given>[^']*)' is not one of (?P<choices>.*)\.")


def usage(error: TyperException) -> str:
    """One line about a command, option or value that typer refuses."""
    option: str | None = getattr(error, "option_name", None)
    if option is not None and _NEGATIVE.match(option):
        given = next((word for word in sys.argv if word.startswith(option)), option)
        return f"{given} is a negative number, and none can be given here; write 0 or more"
    if option is not None and hasattr(error, "possibilities"):
        return f"No such option: {option}.{meant(error.possibilities or ())}"
    message = error.format_message()
    if isinstance(error.__cause__, ValidationError):
        message = message.replace(str(getattr(error, "message", "")), first_problem(error.__cause__))
    if (found := _UNLIKE.search(message)) is not None:
        message += choice_meant(found["given"], re.findall(r"'([^']*)'", found["choices"]))
    return message


def choice_meant(given: str, choices: Iterable[str]) -> str:
    """` Did you mean …?` with the choices that are like `given`, in whatever case; empty if none is."""
    by_folded = {choice.casefold(): choice for choice in choices}
    return meant([by_folded[each] for each in get_close_matches(given.casefold(), by_folded)])


def meant(likely: Iterable[Any]) -> str:
    named = ", ".join(f"'{each}'" for each in likely)
    return f" Did you mean {named}?" if named else ""
