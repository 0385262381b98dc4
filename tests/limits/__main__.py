"""`python -m tests.limits --sagas 5000`: how much memory one worker takes for so many open sagas, and that all end."""

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from tests.end_to_end.system import System

from .open_sagas import Measured, measure

_MOST = 20_000
"""The dev server keeps all of them in one SQLite file; more measures that."""


def main(
    sagas: Annotated[int, typer.Option(min=1, max=_MOST, help="Open at once.")] = 5000,
    minutes: Annotated[int, typer.Option(min=1, max=60, help="When to give up.")] = 60,
) -> None:
    """Exit code 0 if every saga was open at the same time, every one was confirmed, and the audit is clean."""
    with tempfile.TemporaryDirectory(prefix="order-saga-limits-", ignore_cleanup_errors=True) as folder:
        system = System(Path(folder))
        try:
            measured = asyncio.run(asyncio.wait_for(measure(system, sagas), minutes * 60))
        except TimeoutError:
            sys.exit(f"not through after {minutes} min: take fewer --sagas, or a quieter machine")
        finally:
            if system.worker is not None:
                system.stop()
    print(_told(measured))
    sys.exit(0 if measured.open_at_once == measured.confirmed == sagas and measured.audit.clean else 1)


def _told(measured: Measured) -> str:
    growth = ", ".join(f"{count}: {mib}" for count, mib in measured.mib_by_open.items())
    return (
        f"{measured.open_at_once} of {measured.sagas} sagas open at once on one worker of at most"
        f" {measured.peak_mib} MiB (idle {measured.idle_mib}).\nMiB by open sagas: {growth}\n"
        f"{measured.confirmed} of them confirmed; {measured.seconds_to_open} s to open, {measured.seconds_to_end} s"
        f" to end; audit {'clean' if measured.audit.clean else measured.audit.violations}"
    )


if __name__ == "__main__":
    typer.run(main)
