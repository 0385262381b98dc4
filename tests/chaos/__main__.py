"""`python -m tests.chaos`: exit code 0 only if nothing was lost, and within ten minutes."""

from __future__ import annotations

import asyncio
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Annotated

import typer

from activities.catalogue import SERVICES
from runtime.commandline import run
from tests.end_to_end.fleet import Fleet
from tests.end_to_end.system import ROOT, System
from tests.postgresql import postgresql_server

from .phases import FAULTS, Mode, Run
from .proxy import Proxy
from .report import Report

LIMIT_S = 600
"""Limit on a whole run, the crash matrix included."""
_WORKERS = ("worker-1", "worker-2", "worker-3")
"""Each serves every queue. With three, one is left when one is down and another restarts."""
_MATRIX = ["test_matrix.py", "test_deaths.py", "test_interventions.py", "test_sold_out.py", "test_restore.py"]

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    seed: Annotated[int, typer.Option(help="The same seed, the same orders and faults.")] = 1,
    orders: Annotated[int, typer.Option(min=1, help="Orders placed under faults.")] = 1000,
    mode: Annotated[Mode, typer.Option(help="How every second order travels.")] = Mode.SAGA,
    postgresql: Annotated[bool, typer.Option("--postgresql", help="On PostgreSQL instead of SQLite.")] = False,  # noqa: FBT002 — a flag
    matrix: Annotated[bool, typer.Option(help="Run the whole crash matrix too.")] = True,  # noqa: FBT002 — a flag
) -> int:
    """Run faults under load, an outage, the checks and the whole crash matrix; then print the summary."""
    folder = Path(tempfile.mkdtemp(prefix="order-saga-chaos-"))
    report = Report(seed)
    try:
        with _databases() if postgresql else nullcontext() as database_url:
            system = System(folder, database_url=database_url)
            asyncio.run(asyncio.wait_for(_run(system, report, orders, mode, matrix=matrix), LIMIT_S))
    except TimeoutError:
        report.violations.append(f"not through after {LIMIT_S} s")
    report.print()
    if report.violations:
        sys.stderr.write(f"the logs and databases of this run are in {folder}\n")
        return 1
    shutil.rmtree(folder)
    return 0


@contextmanager
def _databases() -> Iterator[str]:
    """A database for each service on a PostgreSQL server of this run, as a template for `DATABASE_URL`."""
    with postgresql_server() as server:
        for service in SERVICES:
            server.execute(f'CREATE DATABASE "{service}";')
        yield f"postgresql+asyncpg://postgres@/{{service}}?host={server.socket}"


async def _run(system: System, report: Report, orders: int, mode: Mode, *, matrix: bool) -> None:
    folder = system.folder
    faults = folder / "faults.toml"
    faults.write_text(FAULTS)
    options = ["--faults", str(faults), "--fault-seed", str(report.seed)]
    fleet = Fleet(system, _WORKERS, lambda _: options)
    try:
        async with Proxy(fleet.system.port) as proxy, fleet:
            fleet.worker_environment = {"TEMPORAL_ADDRESS": proxy.address}
            chaos = Run(fleet, proxy, report, mode)
            with _timed("start", report):
                await chaos.start()
            with _timed("faults", report):
                await chaos.place_under_faults(orders)
            with _timed("outage", report):
                await chaos.recover_from_an_outage()
            with _timed("checks", report):
                await chaos.check()
    finally:
        report.worker_starts = fleet.starts
        report.count_worker_logs(fleet.log_lines())
    if matrix:
        with _timed("matrix", report):
            await _run_the_matrix(folder, report)


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
