"""`python -m tests.chaos`: exit code 0 only if nothing was lost, and within ten minutes."""

import asyncio
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from activities.catalogue import SERVICES
from contracts.catalogue import QUEUES
from runtime.commandline import run
from tests.end_to_end.fleet import Fleet
from tests.end_to_end.system import ROOT, System
from tests.postgresql import PostgresqlServer, postgresql_server

from .phases import FAULTS, Mode, Run
from .proxy import Proxy
from .report import Report

LIMIT_S = 600
"""Limit on one run, the crash matrix included."""
_WORKERS = ("worker-1", "worker-2", "worker-3")
"""Each serves every queue. With three, one is left when one is down and another restarts."""
_MATRIX = ["test_matrix.py", "test_deaths.py", "test_interventions.py", "test_sold_out.py", "test_restore.py"]


class Phase(StrEnum):
    """What happens under load. In the last two, each queue has one worker and PostgreSQL, as in docker-compose.yml."""

    FAULTS = "faults"
    ROLLING = "rolling"
    DATABASE = "database"


_ORDERS = {Phase.FAULTS: 1000, Phase.ROLLING: 300, Phase.DATABASE: 300}


@dataclass(frozen=True)
class Load:
    """How many orders are placed, how every second of them travels, and what happens meanwhile."""

    phase: Phase
    mode: Mode
    orders: int


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    seed: Annotated[int, typer.Option(help="The same seed, the same orders and faults.")] = 1,
    phase: Annotated[
        Phase,
        typer.Option(
            help="faults: of every kind, then an outage. rolling: each worker is restarted. database: it is killed."
        ),
    ] = Phase.FAULTS,
    orders: Annotated[
        int | None, typer.Option(min=1, help="Orders placed meanwhile: 1000 under faults, otherwise 300.")
    ] = None,
    mode: Annotated[Mode, typer.Option(help="How every second order travels.")] = Mode.SAGA,
    postgresql: Annotated[bool, typer.Option("--postgresql", help="On PostgreSQL instead of SQLite.")] = False,  # noqa: FBT002 — a flag
    matrix: Annotated[bool, typer.Option(help="Run the whole crash matrix too.")] = True,  # noqa: FBT002 — a flag
) -> int:
    """Run a phase under load, then the checks and, after faults, the whole crash matrix; print the summary."""
    folder = Path(tempfile.mkdtemp(prefix="order-saga-chaos-"))
    report = Report(seed)
    try:
        with postgresql_server() if postgresql or phase is not Phase.FAULTS else nullcontext() as server:
            system = System(folder, database_url=_databases_on(server) if server else None)
            load = Load(phase, mode, orders or _ORDERS[phase])
            asyncio.run(asyncio.wait_for(_run(system, server, report, load, matrix=matrix), LIMIT_S))
    except TimeoutError:
        report.violations.append(f"not through after {LIMIT_S} s")
    report.print()
    if report.violations:
        sys.stderr.write(f"the logs and databases of this run are in {folder}\n")
        return 1
    shutil.rmtree(folder)
    return 0


def _databases_on(server: PostgresqlServer) -> str:
    """Make a database for each service; a template for `DATABASE_URL`."""
    for service in SERVICES:
        server.execute(f'CREATE DATABASE "{service}";')
    return f"postgresql+asyncpg://postgres@/{{service}}?host={server.socket}"


async def _run(system: System, server: PostgresqlServer | None, report: Report, load: Load, *, matrix: bool) -> None:
    if load.phase is Phase.FAULTS:
        faults = system.folder / "faults.toml"
        faults.write_text(FAULTS)
        options = ["--faults", str(faults), "--fault-seed", str(report.seed)]
        fleet = Fleet(system, _WORKERS, lambda _: options)
    else:
        fleet = Fleet(system, QUEUES, lambda queue: ["--service", queue])
    try:
        async with Proxy(fleet.system.port) as proxy, fleet:
            fleet.worker_environment = {"TEMPORAL_ADDRESS": proxy.address}
            chaos = Run(fleet, proxy, report, load.mode)
            parts = {"start": chaos.start, **_under_load(chaos, server, load), "checks": chaos.check}
            for name, part in parts.items():
                with _timed(name, report):
                    await part()
    finally:
        report.worker_starts = fleet.starts
        report.count_worker_logs(fleet.log_lines())
    if matrix and load.phase is Phase.FAULTS:
        with _timed("matrix", report):
            await _run_the_matrix(system.folder, report)


def _under_load(chaos: Run, server: PostgresqlServer | None, load: Load) -> dict[str, Callable[[], Awaitable[None]]]:
    """The parts of a phase, by the name under which the report has their seconds."""
    if load.phase is Phase.ROLLING:
        return {"rolling restart": partial(chaos.restart_every_worker, load.orders)}
    if server is not None and load.phase is Phase.DATABASE:
        return {"database killed": partial(chaos.kill_the_database, server, load.orders)}
    return {"faults": partial(chaos.place_under_faults, load.orders), "outage": chaos.recover_from_an_outage}


async def _run_the_matrix(folder: Path, report: Report) -> None:
    """Run every case, also those that `make test` leaves out."""
    files = [f"tests/end_to_end/{name}" for name in _MATRIX]
    command = [sys.executable, "-m", "pytest", "-n", "2", "-m", "chaos or not chaos", *files]
    with (folder / "matrix.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=log, stderr=log)
    try:
        code = await process.wait()
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
    output = (folder / "matrix.log").read_text()
    found = re.findall(r"^\d+ (?:passed|failed).*$", output, re.MULTILINE)
    report.matrix = found[-1] if found else "no result"
    if code != 0:
        report.violations.append(f"crash matrix, exit code {code}: {output[-1000:]}")


@contextmanager
def _timed(phase: str, report: Report) -> Iterator[None]:
    sys.stderr.write(f"{phase} …\n")
    began = time.monotonic()
    try:
        yield
    finally:
        report.seconds[phase] = round(time.monotonic() - began, 1)


if __name__ == "__main__":
    run(app)
