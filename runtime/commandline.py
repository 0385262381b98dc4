"""How a command ends: its exit code, one line for each failure, never a traceback. The one way out of both programs."""

from __future__ import annotations

import json
import os
import signal
import sys
from enum import IntEnum
from typing import NoReturn, TextIO

import typer
from pydantic import ValidationError
from temporalio.service import RPCError
from typer.exceptions import TyperException

from contracts.errors import Code
from contracts.problems import first_problem
from runtime import tracing
from runtime.ask import AskFailed
from runtime.connection import Unreachable
from runtime.settings import SettingsError


class Exit(IntEnum):
    OK = 0
    ROLLED_BACK = 1
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
    exit_code: int = Exit.OK
    try:
        exit_code = app(standalone_mode=False) or Exit.OK
    except KeyboardInterrupt:
        exit_code = 130
    except Exception as error:
        failed = _failure_of(error)
        if failed is None:
            raise
        if "--json" in sys.argv:
            print(json.dumps({"error": {"code": failed.code, "message": failed.message}}))  # noqa: T201
        print(f"error: {failed.message}", file=sys.stderr)  # noqa: T201
        exit_code = failed.exit_code
    _flush()
    tracing.flush()
    os._exit(exit_code)


def _leave(*_: object) -> NoReturn:
    """As Ctrl-C does: through the blocks that take down what was begun."""
    raise KeyboardInterrupt


def _failure_of(error: Exception) -> CommandFailed | None:  # noqa: PLR0911 — one return for each kind of failure
    match error:
        case CommandFailed():
            return error
        case TyperException():
            return CommandFailed(Code.USAGE, f"{error.format_message()} (--help lists what there is)", Exit.INVALID)
        case UnicodeEncodeError():
            return CommandFailed(Code.USAGE, f"not UTF-8 text: {error.object!r}"[:200], Exit.INVALID)
        case SettingsError():
            return CommandFailed(Code.USAGE, str(error), Exit.INVALID)
        case AskFailed():
            unreachable = error.code in (Code.UNREACHABLE, Code.SERVICE_UNAVAILABLE)
            return CommandFailed(error.code, error.message, Exit.UNREACHABLE if unreachable else Exit.INVALID)
        case Unreachable():
            return CommandFailed(Code.UNREACHABLE, str(error), Exit.UNREACHABLE)
        case ValidationError():  # not what the user wrote: that has its own words
            told = f"this build cannot read what it was answered ({first_problem(error)}); use the workers' own build"
            return CommandFailed(Code.UNREADABLE_REPLY, told, Exit.UNREACHABLE)
        case RPCError():
            return CommandFailed(Code.UNREACHABLE, f"Temporal: {_first_line(error.message)}", Exit.UNREACHABLE)
        case _:
            return None


def _first_line(text: str) -> str:
    return text.splitlines()[0] if text else "no reason given"


def write(text: str) -> None:
    """On stdout, as far as somebody reads it: how the command ends does not depend on that."""
    try:
        sys.stdout.write(text)
    except BrokenPipeError:
        _forget_reader(sys.stdout)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            _forget_reader(stream)


def _forget_reader(stream: TextIO) -> None:
    """Whoever read our output has left, as `head` does; what is unwritten has no reader."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
