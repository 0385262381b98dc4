"""How a command runs: settings and logs, a client, one event loop; and which exit code an error or an end has."""

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Annotated, Any, TypeVar

import typer
from rich.prompt import Confirm
from rich.text import Text
from temporalio.client import Client

from cli import show
from client.errors import ClientError
from contracts.errors import Code
from runtime import connection, logs
from runtime.commandline import CommandFailed, Exit
from runtime.settings import Settings
from runtime.visible import visible
from temporal_saga import TransactionLog

Yes = Annotated[bool, typer.Option("--yes", help="Answer the question whether to go on.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout, and nothing else.")]

_EXITS: dict[str, Exit] = {
    Code.PAUSED: Exit.NOT_ENDED,
    Code.ASKED: Exit.NOT_ENDED,
    Code.CLOSED_FROM_OUTSIDE: Exit.NOT_ENDED,
    Code.LANE_FULL: Exit.NOT_ENDED,
    Code.SERVICE_UNAVAILABLE: Exit.UNREACHABLE,
    Code.UNREADABLE: Exit.UNREACHABLE,
}
"""The exit codes of a client's errors; the others are the caller's mistakes."""
T = TypeVar("T")


def run(work: Callable[[Client], Awaitable[T]]) -> T:
    """The result of `work` with a client for the Temporal that the settings name. Raises `CommandFailed`."""

    async def connected() -> T:
        return await work(await connection.connect(Settings.read()))

    return run_alone(connected)


def run_alone(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """The result of `work`, which brings its own client. Raises `CommandFailed`."""
    logs.configure_late(Settings.read().log_format, level=logging.WARNING)
    logs.tell_outages(show.remark)
    try:
        return asyncio.run(work())
    except ClientError as error:
        raise failed(error) from error


def failed(error: ClientError) -> CommandFailed:
    return CommandFailed(error.code, error.message, _EXITS.get(error.code, Exit.INVALID))


def require_yes(question: str, *, yes: bool) -> None:
    """Ask a person on the terminal, unless `--yes` has answered. Raises `CommandFailed` for any other answer."""
    if yes:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise CommandFailed(Code.USAGE, f"{question}: nothing was changed; --yes does it", Exit.INVALID)
    try:
        agreed = Confirm.ask(Text(f"{visible(question)}. Go on?"), console=show.stderr, default=False)
    except EOFError:
        agreed = False
    if not agreed:
        raise CommandFailed(Code.USAGE, "nothing was changed", Exit.INVALID)


def exit_code(log: TransactionLog) -> Exit:
    if log.state.is_confirmed:
        return Exit.OK
    return Exit.ROLLED_BACK if log.state.is_end else Exit.NOT_ENDED
