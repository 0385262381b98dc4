import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as Xml

import pytest

from bench import cpu
from bench.contender import CONTENDERS
from bench.figures import Latency, Load, Results, Sample
from bench.load import closed_loop
from bench.orders import UNKNOWN_SKU, orders, refused, write_orders
from bench.plan import FIFTY, ONE, TWO_HUNDRED
from bench.report import BEGIN, END, picture, write_report
from bench.table import Table, number, tables
from cli.documents import read_orders
from contracts.order import Order


def a_sample(contender: str, number: int, rate: float, *, cost: float = 10) -> Sample:
    load = Load(
        orders=100,
        seconds=1,
        orders_per_second=rate,
        latency_ms=Latency(p50=10 * number, p99=20),
        states={"CONFIRMED": 100},
    )
    return Sample(
        contender=contender,
        scenario=FIFTY.name,
        round=number,
        load=load,
        server_ms=cost / 2,
        worker_ms=cost / 4,
        client_ms=cost / 4,
        worker_mb=100,
    )


def row_of(table: Table, name: str) -> dict[str, str]:
    """The figures of one contender, by column."""
    [row] = [row for row in table.rows if row[0] == name]
    return dict(zip(table.columns, row, strict=True))


def test_percentiles_lie_between_the_latencies_they_separate() -> None:
    latency = Latency.of([float(value) for value in range(1, 102)])
    assert (latency.p50, latency.p99) == (51, 100)
    assert Latency.of([7.0]) == Latency(p50=7, p99=7)


def test_a_figure_is_the_median_of_its_rounds_with_their_extremes() -> None:
    samples = [a_sample("ours", 1, 40), a_sample("ours", 2, 10, cost=30), a_sample("ours", 3, 20)]
    [table] = tables(samples)
    row = row_of(table, "ours")
    assert table.title == FIFTY.name
    assert (row["orders/s"], row["CPU ms"], row["server CPU"]) == ("20.0 (10.0-40.0)", "10.0 (10.0-30.0)", "5 (5-15.0)")
    assert row["events"] == ""


def test_contenders_are_not_mixed() -> None:
    [table] = tables([a_sample("ours", 1, 40), a_sample("theirs", 1, 4), a_sample("ours", 2, 60)])
    assert row_of(table, "ours")["orders/s"] == "50.0 (40.0-60.0)"
    assert row_of(table, "theirs")["orders/s"] == "4"


def test_ratios_come_first_and_are_made_within_each_round() -> None:
    ours = [a_sample("ours, saga", 1, 40), a_sample("ours, saga", 2, 10, cost=60), a_sample("ours, saga", 3, 9)]
    theirs = [a_sample("DBOS", 1, 80), a_sample("DBOS", 2, 20), a_sample("DBOS", 3, 3)]
    ratios, absolute = tables([*ours, *theirs])
    row = row_of(ratios, "DBOS")
    assert row["orders/s, 50 at once"] == "0.5 (0.5-3)"
    assert row["worker CPU, 50 at once"] == "1 (1-6)"
    assert row["p50, one at a time"] == "", "nothing was measured there"
    assert [title for title, *_ in (ratios, absolute)] == ["ours, saga: ratio to each contender", FIFTY.name]


def test_there_is_no_ratio_to_nothing() -> None:
    idle = a_sample("no server", 1, 80).model_copy(update={"server_ms": 0.0})
    [ratios, _] = tables([a_sample("ours, saga", 1, 40), idle])
    assert row_of(ratios, "no server")["server CPU, 50 at once"] == ""


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


def test_a_load_takes_seconds_and_is_bounded_below_by_its_clients() -> None:
    assert FIFTY.orders_at(1000) == 3000
    assert [scenario.orders_at(1) for scenario in (ONE, FIFTY, TWO_HUNDRED)] == [30, 100, 200]


def test_every_contender_has_the_figures_that_are_compared() -> None:
    assert len({contender.name for contender in CONTENDERS}) == len(CONTENDERS)
    compared = [contender for contender in CONTENDERS if contender.name != "ours, choreography"]  # only beside ours
    assert all({ONE, FIFTY} <= set(contender.rates) for contender in compared)


def test_figures_are_written_as_exactly_as_they_were_measured() -> None:
    assert [number(value) for value in (12345.6, 123.4, 12.34, 1.234, 0.1234)] == [
        "12,346",
        "123",
        "12.3",
        "1.2",
        "0.12",
    ]


def test_bars_are_as_long_as_their_values() -> None:
    drawn = Xml.fromstring(picture({"rate": [("ours <1>", 100), ("theirs", 25)]}))  # noqa: S314 — our own text
    bars = list(drawn.iter("{http://www.w3.org/2000/svg}rect"))[1:]  # the first is the ground
    long, short = (float(bar.attrib["width"]) for bar in bars)
    assert long == pytest.approx(4 * short)


@pytest.fixture
def results() -> Results:
    return Results(
        machine={"cores": "2"},
        versions={"python": "3.11"},
        samples=[a_sample("ours, saga", 1, 40), a_sample("naive saga", 1, 5)],
        left_out={"DBOS": "not installed"},
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
    assert once.index("| naive saga |  |  | 8 |") < once.index("| ours, saga | 40.0 |"), "ratios first"
    assert "Left out: DBOS: not installed." in once
    assert "(performance.svg)" in once
    assert "naive saga" in (tmp_path / "performance.svg").read_text()


def test_a_document_without_a_place_for_figures_is_left_alone(tmp_path: Path, results: Results) -> None:
    document = tmp_path / "performance.md"
    document.write_text("no place")
    with pytest.raises(ValueError, match="no place for figures"):
        write_report(results, document)
    assert document.read_text() == "no place"
