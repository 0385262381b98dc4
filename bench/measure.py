"""The run: every contender in turn, and again, so that a noisy minute falls on all of them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.contender import Contender
from bench.figures import Results
from bench.machine import load_now, machine, versions
from bench.plan import QUICK_ORDERS
from bench.processes import BenchFailed
from bench.system import System


def measure(contenders: Sequence[Contender], rounds: int, *, quick: bool, say: Callable[[str], None]) -> Results:
    """Measure all `contenders` in each round. `say` tells a person what is going on."""
    results = Results(machine=machine(), versions=versions())
    for contender in contenders:
        if reason := contender.missing():
            results.left_out[contender.name] = reason
    for number in range(1, rounds + 1):
        for contender in contenders:
            if contender.name in results.left_out or contender.name in results.failed:
                continue
            say(f"round {number} of {rounds}: {contender.name}")
            try:
                _take_turn(contender, number, results, quick=quick, say=say)
            except BenchFailed as error:
                results.failed[contender.name] = str(error)
                say(f"  {error}")
    results.machine["load after"] = load_now()
    return results


def _take_turn(contender: Contender, number: int, results: Results, *, quick: bool, say: Callable[[str], None]) -> None:
    """Measure all scenarios on a new system, and audit it at the end: what is wrong has no speed."""
    with TemporaryDirectory(prefix="order-saga-bench-") as folder, System(contender, Path(folder)) as system:
        for scenario, rate in contender.rates.items():
            count = QUICK_ORDERS if quick else scenario.orders_at(rate)
            sample = system.measure(scenario, count, round_number=number)
            results.samples.append(sample)
            say(f"  {scenario.name}: {count} orders, {sample.load.orders_per_second:.1f}/s")
        if contender.is_audited:
            results.audited[contender.name] = results.audited.get(contender.name, 0) + system.audit()
