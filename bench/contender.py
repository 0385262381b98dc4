"""A contender: which programs are started for it, how orders are handed to it, and whether it can take part."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from bench.plan import ALL_REFUSED, FIFTY, FULL_BATCHES, ONE, SOME_REFUSED, TWO_HUNDRED, Scenario
from bench.processes import restate_server
from runtime.embedded import free_port

PYTHON = sys.executable
Place = Callable[["Site", Path, int], list[str]]
"""The command of a client: for the system at a site, the orders in a file, so many at once."""


@dataclass(frozen=True)
class Site:
    """Where one system of a contender lives: nothing in it is shared with another."""

    folder: Path
    port: int = field(default_factory=free_port)
    ui_port: int = field(default_factory=free_port)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def _ports(self) -> list[str]:
        return [str(self.port), str(self.ui_port)]

    def worker(self) -> list[str]:
        ports = ["--port", str(self.port), "--ui-port", str(self.ui_port)]
        return [PYTHON, "worker.py", "--embedded", *ports, "--data", str(self.folder)]

    def naive(self) -> list[str]:
        return [PYTHON, "-m", "bench.contenders.naive", *self._ports, "--data", str(self.folder)]

    def naive_in_memory(self) -> list[str]:
        return [PYTHON, "-m", "bench.contenders.naive", *self._ports]

    def floor(self) -> list[str]:
        return [PYTHON, "-m", "bench.contenders.floor", *self._ports, str(self.folder)]

    def dbos(self) -> list[str]:
        return [PYTHON, "-m", "bench.contenders.dbos_transact", str(self.folder)]

    def dbos_on_postgres(self) -> list[str]:
        return [*self.dbos(), "--postgres"]

    def services_alone(self) -> list[str]:
        return [PYTHON, "-m", "bench.contenders.services_alone"]

    def restate(self) -> list[str]:
        return [PYTHON, "-m", "bench.contenders.restate_service", *self._ports, str(self.folder)]


def _bulk(site: Site, orders: Path, concurrency: int, *options: str) -> list[str]:
    del site  # the environment names it
    return [PYTHON, "starter.py", "bulk", str(orders), "--concurrency", str(concurrency), "--json", *options]


def _bulk_in_batches(site: Site, orders: Path, concurrency: int) -> list[str]:
    """There `--concurrency` is of batches: two where that divides the orders under way, so that they overlap."""
    batches = 2 if concurrency % 2 == 0 else 1
    return _bulk(site, orders, batches, "--mode", "batch", "--batch-size", str(concurrency // batches))


def _bulk_colocated(site: Site, orders: Path, concurrency: int) -> list[str]:
    return _bulk(site, orders, concurrency, "--mode", "colocated")


def _client(workflow: str, queue: str) -> Place:
    def command(_: Site, orders: Path, concurrency: int) -> list[str]:
        return [PYTHON, "-m", "bench.client", workflow, queue, str(orders), str(concurrency)]

    return command


def _over_http(site: Site, orders: Path, concurrency: int) -> list[str]:
    return [PYTHON, "-m", "bench.restate_client", str(site.port), str(orders), str(concurrency)]


@dataclass(frozen=True)
class Contender:
    """`place` is the command of its client; without one the program itself takes loads on its stdin.

    `guesses` are the rates it is first given orders for, on two cores; from then on its own count. A scenario that is
    not among them is not measured, one in `once` a single time at the end: what crawls would eat everybody's time.
    """

    name: str
    serve: Callable[[Site], list[str]]
    place: Place | None
    guesses: dict[Scenario, float]
    missing: Callable[[], str | None] = lambda: None
    once: tuple[Scenario, ...] = ()
    on_temporal: bool = True
    is_saga: bool = True
    """Whether it runs the order process, so that its orders end in states and leave traces in the services."""

    @property
    def is_audited(self) -> bool:
        """The product's audit compares the services with Temporal."""
        return self.is_saga and self.on_temporal


def _without_dbos() -> str | None:
    return None if importlib.util.find_spec("dbos") else "DBOS is not installed; `make bench` installs it"


def _without_restate() -> str | None:
    if restate_server() is None:
        return "its server is not installed; `make bench` installs it where there is npm"
    return None if importlib.util.find_spec("restate") else "its SDK is not installed; `make bench` installs it"


def _same(rate: float) -> dict[Scenario, float]:
    return {ONE: rate / 3, FIFTY: rate, TWO_HUNDRED: rate, SOME_REFUSED: rate, ALL_REFUSED: rate}


CONTENDERS = (
    Contender("ours, saga", Site.worker, _bulk, _same(40)),
    Contender("ours, colocated", Site.worker, _bulk_colocated, _same(80)),
    Contender(
        "ours, batch",
        Site.worker,
        _bulk_in_batches,
        {ONE: 10, FIFTY: 300, TWO_HUNDRED: 1000, SOME_REFUSED: 300, ALL_REFUSED: 300, FULL_BATCHES: 1500},
    ),
    Contender(
        "naive saga, file database",
        Site.naive,
        _client("NaiveOrder", "naive"),
        {ONE: 2, FIFTY: 6, TWO_HUNDRED: 6, ALL_REFUSED: 10},
        once=(TWO_HUNDRED, ALL_REFUSED),
    ),
    Contender(
        "naive saga, in memory", Site.naive_in_memory, _client("NaiveOrder", "naive"), {FIFTY: 12}, once=(FIFTY,)
    ),
    Contender(
        "DBOS on SQLite",
        Site.dbos,
        None,
        _same(40),
        missing=_without_dbos,
        once=(TWO_HUNDRED, SOME_REFUSED, ALL_REFUSED),
        on_temporal=False,
    ),
    Contender(
        "DBOS on PostgreSQL",
        Site.dbos_on_postgres,
        None,
        {ONE: 20, FIFTY: 40},
        missing=_without_dbos,
        on_temporal=False,
    ),
    Contender(
        "Restate",
        Site.restate,
        _over_http,
        _same(60),
        missing=_without_restate,
        once=(TWO_HUNDRED, SOME_REFUSED, ALL_REFUSED),
        on_temporal=False,
    ),
    Contender(
        "a workflow that does nothing",
        Site.floor,
        _client("Nothing", "floor"),
        {ONE: 40, FIFTY: 80, TWO_HUNDRED: 80},
        once=(TWO_HUNDRED,),
        is_saga=False,
    ),
    Contender("the services alone", Site.services_alone, None, {ONE: 60, FIFTY: 80}, on_temporal=False),
)
