"""`doctor`: what is wrong with this installation, and what mends it."""

import asyncio

from rich.text import Text
from temporalio.client import Client
from temporalio.service import RPCError

from cli import session, show
from cli.session import Json
from client import health
from client.health import Check, checked
from contracts.identity import TemporalIdentity
from runtime import connection
from runtime.commandline import Exit
from runtime.connection import Unreachable
from runtime.settings import Settings

_SERVER_REMEDY = "start one with `make up`, or set TEMPORAL_ADDRESS"
_DATABASE_REMEDY = "see DATABASE_URL, and whether the database's server runs"


def doctor(json: Json = False) -> int:
    """What is wrong with this installation, and what mends it.

    Exit code 0: nothing. 3: Temporal or a database does not answer. 1: any other fault.
    """
    checks = session.run_alone(_examine)
    show.result(checks, _show, json=json)
    if any(check.unreachable for check in checks):
        return Exit.UNREACHABLE
    return Exit.OK if all(check.ok for check in checks) else Exit.FAULTS


async def _examine() -> list[Check]:
    settings = Settings.read()
    client, server = await _connected(settings)
    here = None if client is None else await _identity(client)
    of_temporal = health.of_temporal(client, settings) if client is not None else _nothing()
    found, databases = await asyncio.gather(of_temporal, _databases(settings, here))
    return [server, *found, *databases]


async def _connected(settings: Settings) -> tuple[Client | None, Check]:
    opened: list[Client] = []

    async def look() -> Check:
        try:
            opened.append(await connection.open_client(settings))
        except Unreachable as error:
            said, _, remedy = str(error).rpartition("; ")
            return Check(check="server", ok=False, found=said, remedy=remedy, unreachable=True)
        return await health.server(opened[0])

    check = await checked("server", look, _SERVER_REMEDY)
    return (opened[0] if opened and check.ok else None), check


async def _identity(client: Client) -> TemporalIdentity | None:
    try:
        return await asyncio.wait_for(connection.identity_of(client), health.TIMEOUT_S)
    except (TimeoutError, RPCError):  # the namespace's own check says why
        return None


async def _nothing() -> list[Check]:
    return []


async def _databases(settings: Settings, here: TemporalIdentity | None) -> list[Check]:
    from audit.databases import SERVED, database  # noqa: PLC0415 — SQLAlchemy, where it is needed

    def check_of(service: str) -> asyncio.Future[Check]:
        looked = checked(f"database of {service}", lambda: database(service, settings, here), _DATABASE_REMEDY)
        return asyncio.ensure_future(looked)

    return await asyncio.gather(*map(check_of, SERVED))


def _show(checks: list[Check]) -> None:
    for check in checks:
        mark = Text("ok     ", "green") if check.ok else Text("FAULT  ", "red")
        show.line(mark, f"{check.check}: {check.found}", f"; {check.remedy}" if check.remedy else "")
