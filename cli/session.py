"""How a command runs: settings and logs, a client, one event loop; and how it hands back its exit code."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from enum import StrEnum
from typing import Annotated, Any, ParamSpec

import typer
from temporalio.client import Client

from cli import show
from runtime import connection, logs
from runtime.settings import Settings


class Mode(StrEnum):
    """How an order travels; `docs/architecture.md` compares the modes."""

    SAGA = "saga"
    COLOCATED = "colocated"
    CHOREOGRAPHY = "choreography"
    BATCH = "batch"


Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout, and nothing else.")]


P = ParamSpec("P")


def run(command: Callable[P, Coroutine[Any, Any, int]], *args: P.args, **kwargs: P.kwargs) -> int:
    """Run an async command to its exit code, which typer hands on to `runtime.commandline`."""
    logs.configure(Settings.read().log_format, level=logging.WARNING)
    logs.tell_outages(show.remark)
    return asyncio.run(command(*args, **kwargs))


async def connect() -> Client:
    return await connection.connect(Settings.read())
