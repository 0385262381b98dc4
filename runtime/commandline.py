"""How a command begins and ends: its options, its exit code, one line for each failure, never a traceback.

The one way in and out of both programs. Temporal's SDK and pydantic are imported where a command fails, because
`--help` and completion have to answer at once.
"""

import json
import os
import signal
import sys
from collections.abc import Callable
from enum import IntEnum
from typing import Any, NoReturn

import typer
from typer.exceptions import TyperException

from runtime import streams
from runtime.visible import visible


class Exit(IntEnum):
    OK = 0
    ROLLED_BACK = 1
    FAULTS = 1
    INVALID = 2
    UNREACHABLE = 3
    NOT_ENDED = 4
    VIOLATIONS = 5


class CommandFailed(Exception):
    """A command cannot do what it was asked: `code` for programs, `message` for people, `exit_code` for the shell."""

    def __init__(self, code: str, message: str, exit_code: Exit) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.exit_code = exit_code


def run(app: typer.Typer) -> NoReturn:
    """Run the command that `sys.argv` names and leave the process.

    Leaves with `os._exit`: a process that used the SDK can crash while the interpreter shuts down (sdk-python #300).
    """
    for asked_to_leave in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(asked_to_leave) is signal.SIG_DFL:  # `nohup` asks for it to be ignored
            signal.signal(asked_to_leave, _leave)
    streams.protect()
    exit_code: int = Exit.OK
    try:
        exit_code = guarded(typer.main.get_command(app))(standalone_mode=False) or Exit.OK
    except KeyboardInterrupt:
        exit_code = 130
    except Exception as error:
        failed = _failure_of(error)
        if failed is None:
            raise
        if "--json" in sys.argv:
            write(json.dumps({"error": {"code": failed.code, "message": failed.message}}) + "\n")
        say(f"error: {failed.message}")
        exit_code = failed.exit_code
    lost = streams.lost_output()
    if lost is not None:
        say(f"the output could not be written: {lost}; the exit code is the command's own")
    if (tracing := sys.modules.get("runtime.tracing")) is not None:
        tracing.flush()
    os._exit(exit_code)


def guarded(command: Any) -> Any:
    """`command` with every option and argument, also of its commands, guarded against a value that is given but empty.

    A script whose variable is unset writes `--id ""`; taken for absent, each of its retries would place a new order.
    The help of a flag does not name a type, as if it took a value.
    """
    waiting = [command]
    while waiting:
        each = waiting.pop()
        waiting += getattr(each, "commands", {}).values()
        each.get_help_option = _without_type(each.get_help_option)
        for parameter in each.params:
            parameter.process_value = _refuse_empty(parameter, parameter.process_value)
            if getattr(parameter, "is_flag", False):
                parameter.metavar = ""
    return command


def _without_type(get_help_option: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def without_type(context: Any) -> Any:
        if (option := get_help_option(context)) is not None:
            option.metavar = ""
        return option

    return without_type


def _refuse_empty(parameter: Any, process: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def process_value(context: Any, value: Any) -> Any:
        given = value if isinstance(value, list | tuple) else [value]
        if any(isinstance(each, str) and not each.strip() for each in given):
            raise typer.BadParameter("it is empty; give a value, or leave it out if you can", context, parameter)
        return process(context, value)

    return process_value


def _leave(*_: object) -> NoReturn:
    """As Ctrl-C does: through the blocks that take down what was begun."""
    raise KeyboardInterrupt


def _failure_of(error: Exception) -> CommandFailed | None:  # noqa: PLR0911 — one return for each kind of failure
    if isinstance(error, CommandFailed):
        return error
    from pydantic import ValidationError  # noqa: PLC0415 — see above; what the command itself uses is imported by now
    from temporalio.service import RPCError  # noqa: PLC0415

    from contracts.errors import Code  # noqa: PLC0415
    from contracts.problems import first_problem  # noqa: PLC0415
    from runtime.connection import Unreachable  # noqa: PLC0415
    from runtime.execute import OperationFailed  # noqa: PLC0415
    from runtime.settings import SettingsError  # noqa: PLC0415
    from runtime.usage import usage  # noqa: PLC0415
    from temporal_saga.outcome import first_line  # noqa: PLC0415

    match error:
        case TyperException():
            return CommandFailed(Code.USAGE, f"{usage(error)} (--help lists what there is)", Exit.INVALID)
        case UnicodeEncodeError():
            return CommandFailed(Code.USAGE, f"not UTF-8 text: {error.object!r}"[:200], Exit.INVALID)
        case SettingsError():
            return CommandFailed(Code.USAGE, str(error), Exit.INVALID)
        case OperationFailed():
            unreachable = error.code in (Code.UNREACHABLE, Code.SERVICE_UNAVAILABLE)
            return CommandFailed(error.code, error.message, Exit.UNREACHABLE if unreachable else Exit.INVALID)
        case Unreachable():
            return CommandFailed(Code.UNREACHABLE, str(error), Exit.UNREACHABLE)
        case ValidationError():  # not what the user wrote: that has its own words
            told = f"this build cannot read what it was answered ({first_problem(error)}); use the workers' own build"
            return CommandFailed(Code.UNREADABLE_REPLY, told, Exit.UNREACHABLE)
        case RPCError():
            return CommandFailed(Code.UNREACHABLE, f"Temporal: {first_line(error)}", Exit.UNREACHABLE)
        case _:
            return None


def write(text: str) -> None:
    """Write `text` on stdout; what it quotes from outside is to be `visible` already."""
    sys.stdout.write(text)


def say(text: str) -> None:
    """Write one line on stderr."""
    sys.stderr.write(visible(text) + "\n")
