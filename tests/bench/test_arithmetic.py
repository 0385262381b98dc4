from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as Xml

import pytest

from bench import cpu
from bench.contender import CONTENDERS
from bench.figures import Cpu, Latency, Load, Results, Sample, Spread, rows_of
from bench.load import closed_loop
from bench.orders import UNKNOWN_SKU, orders, refused, write_orders
from bench.picture import Bar, picture
from bench.plan import FIFTY, MAX_ORDERS, ONE, TWO_HUNDRED, Counts, fewest_orders
from bench.report import BEGIN, END, write_report
from bench.table import number
from cli.documents import read_orders
from contracts.order import Order


def a_sample(contender: str, run: int, rate: float, *, cost: float = 10) -> Sample:
    load = Load(
        orders=100,
        seconds=1,
        orders_per_second=rate,
        latency_ms=Latency(p50=10 * run, p99=20),
        states={"CONFIRMED": 100},
    )
    cpu_ms = Cpu(server=cost / 2, worker=cost / 4, client=cost / 4)
    return Sample(contender=contender, scenario=FIFTY.name, run=run, load=load, cpu_ms=cpu_ms, worker_rss_mb=100)


def test_percentiles_lie_between_the_latencies_they_separate() -> None:
    latency = Latency.of([float(value) for value in range(1, 102)])
    assert (latency.p50, latency.p99) == (51, 100)
    assert Latency.of([7.0]) == Latency(p50=7, p99=7)


def test_a_row_holds_the_median_of_its_runs_and_their_extremes() -> None:
    [row] = rows_of([a_sample("ours", 1, 40), a_sample("ours", 2, 10, cost=30), a_sample("ours", 3, 20)])
    assert row.orders_per_second == Spread(median=20, low=10, high=40)
    assert row.cpu_ms == Spread(median=10, low=10, high=30)
    assert row.cpu_by_process_ms.total == 10
    assert (row.runs, row.orders) == (3, 300)


def test_contenders_and_scenarios_are_not_mixed() -> None:
    rows = rows_of([a_sample("ours", 1, 40), a_sample("theirs", 1, 4), a_sample("ours", 2, 60)])
    assert {row.contender: row.orders_per_second.median for row in rows} == {"ours": 50, "theirs": 4}


async def test_a_closed_loop_places_every_order_and_never_more_at_once_than_it_may() -> None:
    placed: list[str] = []
    under_way = most = 0

    async def place(order: Order) -> str:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        under_way -= 1
        placed.append(order.order_id)
        return "ROLLED_BACK" if order.lines[0].sku == UNKNOWN_SKU else "CONFIRMED"

    wanted = list(orders(50, 0.1))
    load = await closed_loop(place, wanted, 7)
    assert sorted(placed) == sorted(order.order_id for order in wanted)
    assert most == 7
    assert load.states == {"CONFIRMED": 45, "ROLLED_BACK": 5}
    assert load.orders == 50


@pytest.mark.parametrize(("count", "share"), [(20, 0.05), (100, 0.05), (105, 0.05), (30, 1), (30, 0)])
def test_as_many_orders_ask_for_what_there_is_not_as_were_to_be_refused(
    tmp_path: Path, count: int, share: float
) -> None:
    write_orders(tmp_path / "orders.jsonl", count, share)
    read = read_orders(str(tmp_path / "orders.jsonl"))
    impossible = [order for order in read if order.lines[0].sku == UNKNOWN_SKU]
    assert (len(read), len(impossible)) == (count, refused(count, share))
    assert refused(count, share) == pytest.approx(count * share, abs=1)


BURN = """
import os, subprocess, sys, time
if len(sys.argv) > 1:
    subprocess.run([sys.executable, "-c", "import time\\nwhile time.process_time() < 0.3: pass"])
while time.process_time() < 0.2: pass
print(sum(os.times()[:4]), flush=True)
sys.stdin.read()
"""


@pytest.fixture(params=[[], ["and a child"]], ids=["alone", "with a child that ended"])
def burnt(request: pytest.FixtureRequest) -> Iterator[tuple[int, float]]:
    """A process that has used a known amount of processor time and now waits: its id, and the seconds."""
    command = [sys.executable, "-c", BURN, *request.param]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.pid, float(process.stdout.readline())


def test_processor_time_is_what_the_process_says_of_itself_and_its_children(burnt: tuple[int, float]) -> None:
    pid, seconds = burnt
    usage = cpu.used([pid])
    assert usage.worker_s == pytest.approx(seconds, abs=0.05)
    assert usage.server_s == 0
    assert usage.worker_rss > 1_000_000


def test_usage_between_two_looks_is_a_difference_of_times_but_not_of_memory() -> None:
    between = cpu.Usage(5, 7, 300) - cpu.Usage(2, 3, 200)
    assert between == cpu.Usage(3, 4, 300)


def test_a_load_is_as_long_as_the_last_one_of_its_contender_promises() -> None:
    counts = Counts(load_s=4)
    assert counts.of("ours", FIFTY, 100) == (400, 4)
    counts.learn("ours", FIFTY, 1000)
    assert counts.of("ours", FIFTY, 100) == (4000, 4)
    assert counts.of("ours", ONE, 10)[0] == 40
    assert counts.of("theirs", FIFTY, 100)[0] == 400


def test_a_load_is_bounded_below_by_its_clients_and_above_by_their_memory() -> None:
    counts = Counts(load_s=4)
    assert counts.of("slow", FIFTY, 1) == (100, 100)
    assert counts.of("slow", TWO_HUNDRED, 1)[0] == fewest_orders(TWO_HUNDRED) == 200
    assert counts.of("fast", FIFTY, 10**6)[0] == MAX_ORDERS


def test_what_is_measured_a_single_time_is_measured_at_all() -> None:
    assert len({contender.name for contender in CONTENDERS}) == len(CONTENDERS)
    assert all(FIFTY in contender.guesses for contender in CONTENDERS), "the picture shows them at this"
    assert all(set(contender.once) <= set(contender.guesses) for contender in CONTENDERS)


def test_figures_are_written_as_exactly_as_they_were_measured() -> None:
    assert [number(value) for value in (12345.6, 123.4, 12.34, 1.234, 0.1234)] == [
        "12,346",
        "123",
        "12.3",
        "1.2",
        "0.12",
    ]


def test_bars_are_as_long_as_their_values() -> None:
    drawn = Xml.fromstring(picture([("rate", [Bar("ours <1>", 100), Bar("theirs", 25)])]))  # noqa: S314 — our own text
    bars = list(drawn.iter("{http://www.w3.org/2000/svg}rect"))[1:]  # the first is the ground
    long, short = (float(bar.attrib["width"]) for bar in bars)
    assert long == pytest.approx(4 * short)


@pytest.fixture
def results() -> Results:
    samples = [a_sample("ours, saga", 1, 40), a_sample("naive saga", 1, 5)]
    return Results(
        machine={"cores": "2"},
        versions={"python": "3.11"},
        settings={},
        rows=rows_of(samples),
        audits=[],
        left_out={"DBOS": "not installed"},
        failed={},
        samples=samples,
    )


def test_a_report_replaces_the_last_one_and_nothing_else(tmp_path: Path, results: Results) -> None:
    document = tmp_path / "performance.md"
    document.write_text(f"before\n{BEGIN}\nold figures\n{END}\nafter\n")
    write_report(results, document)
    once = document.read_text()
    write_report(results, document)
    assert document.read_text() == once
    assert once.startswith(f"before\n{BEGIN}\n")
    assert once.endswith(f"{END}\nafter\n")
    assert "old figures" not in once
    assert "| ours, saga | 1 | 40.0 |" in once
    assert "Left out: DBOS (not installed)." in once
    assert "(performance.svg)" in once
    assert "naive saga" in (tmp_path / "performance.svg").read_text()


def test_a_document_without_a_place_for_figures_is_left_alone(tmp_path: Path, results: Results) -> None:
    document = tmp_path / "performance.md"
    document.write_text("no place")
    with pytest.raises(ValueError, match="no place for figures"):
        write_report(results, document)
    assert document.read_text() == "no place"
