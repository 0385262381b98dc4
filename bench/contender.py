"""The contenders: which program serves each, how orders are handed to it, and whether it can take part."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

from bench.plan import ALL_REFUSED, FIFTY, FULL_BATCHES, ONE, ONE_REFUSED, SOME_REFUSED, TWO_HUNDRED, Scenario
from bench.processes import restate_server

_PEERS = "is not installed: `make .venv/peers` installs it"


def _without_dbos() -> str | None:
    return None if find_spec("dbos") else f"DBOS {_PEERS}"


def _without_restate() -> str | None:
    if not find_spec("restate"):
        return f"Restate's SDK {_PEERS}"
    return None if restate_server() else f"Restate's server {_PEERS} where there is npm"


@dataclass(frozen=True)
class Contender:
    """`serve` and `place` are commands of Python; `bench/system.py` says what stands for the names in braces.

    Without `place`, the program is client and worker in one, and takes loads on its stdin (`contenders/tasks.py`).
    `rates` names the scenarios it is measured in, and guesses its orders a second there on two cores: with them, each
    load takes seconds. All rounds have the same number of orders.
    """

    name: str
    serve: str
    place: str | None
    rates: dict[Scenario, float]
    missing: Callable[[], str | None] = lambda: None
    on_temporal: bool = False
    is_audited: bool = False
    """The product's audit compares the services with Temporal, by the product's workflow ids."""


def _ours(mode: str, rates: dict[Scenario, float]) -> Contender:
    serve = "worker.py --embedded --port {port} --ui-port {ui_port} --data {folder}"
    at_once = "{batches} --batch-size {batch_size}" if mode == "batch" else "{concurrency}"
    place = f"starter.py bulk {{orders}} --json --mode {mode} --concurrency {at_once}"
    return Contender(f"ours, {mode}", serve, place, rates, on_temporal=True, is_audited=True)


_NAIVE = "-m bench.contenders.naive {port} {ui_port}"
_PLACE_NAIVE = "-m bench.client temporal {address} NaiveOrder naive {orders} {concurrency}"
_DBOS = "-m bench.contenders.dbos_transact {folder}"

CONTENDERS = (
    _ours("saga", {ONE: 8, FIFTY: 12, TWO_HUNDRED: 12, SOME_REFUSED: 12, ALL_REFUSED: 12, ONE_REFUSED: 5}),
    _ours("colocated", {ONE: 12, FIFTY: 20, TWO_HUNDRED: 20, SOME_REFUSED: 20, ALL_REFUSED: 15}),
    _ours("batch", {ONE: 6, FIFTY: 200, TWO_HUNDRED: 600, SOME_REFUSED: 200, ALL_REFUSED: 250, FULL_BATCHES: 900}),
    Contender(
        "bare workflow of the same shape",
        "-m bench.contenders.bare {port} {ui_port} {folder}",
        "-m bench.client temporal {address} Bare bare {orders} {concurrency}",
        {ONE: 12, FIFTY: 20},
        on_temporal=True,
    ),
    Contender(
        "naive saga, file database",
        f"{_NAIVE} --data {{folder}}",
        _PLACE_NAIVE,
        {ONE: 2, FIFTY: 6},
        on_temporal=True,
        is_audited=True,
    ),
    Contender("naive saga, in memory", _NAIVE, _PLACE_NAIVE, {ONE: 4, FIFTY: 12}, on_temporal=True, is_audited=True),
    Contender("DBOS on SQLite", _DBOS, None, {ONE: 20, FIFTY: 20, ALL_REFUSED: 20}, _without_dbos),
    Contender("DBOS on PostgreSQL", f"{_DBOS} --postgres", None, {ONE: 17, FIFTY: 20}, _without_dbos),
    Contender(
        "Restate",
        "-m bench.contenders.restate_service {port} {ui_port} {folder}",
        "-m bench.client restate {port} {orders} {concurrency}",
        {ONE: 20, FIFTY: 60, ALL_REFUSED: 60},
        _without_restate,
    ),
    Contender("the services alone", "-m bench.contenders.services_alone", None, {ONE: 80, FIFTY: 1000}),
    Contender(
        "one transaction",
        "-m bench.contenders.one_transaction {folder}",
        None,
        {ONE: 1000, FIFTY: 1500, ALL_REFUSED: 1500},
    ),
    _ours("choreography", {ONE: 3, ONE_REFUSED: 2}),
)
