"""What `bulk` says while it works, and what it leaves parked."""

import asyncio
import io

import pytest
from rich.console import Console

from cli import bulk, show
from cli.tally import Tally
from client.bulk import Placed
from contracts.batch import OutcomeGroup
from temporal_saga import State


def test_what_is_left_parked_is_named_with_what_tells_why(capsys: pytest.CaptureFixture[str]) -> None:
    tally = Tally(keeps_outcomes=False)
    parked = tuple(f"o-{number:03}" for number in range(60))
    groups = [OutcomeGroup(state=State.PARKED, order_ids=parked), OutcomeGroup(state=State.CONFIRMED, order_ids=("o",))]
    tally.add(Placed(groups, 1.0))
    bulk._show(tally.summary(1.0), tally.parked)
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if "parked:" in line] == [f"  parked: {order_id}" for order_id in parked[:50]]
    assert lines[-2:] == ["  … and 10 more", "`starter.py desk list` says why, and what to do"]


async def _told(console: Console, monkeypatch: pytest.MonkeyPatch, *, quiet: bool = False) -> None:
    monkeypatch.setattr(show, "stderr", console)
    monkeypatch.setattr(bulk, "_LINE_EVERY_S", 0.05)
    with bulk._progress(200, quiet=quiet) as tell:
        tell(50)
        await asyncio.sleep(0.12)


async def test_where_no_bar_can_move_a_line_comes_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    for console in (Console(file=io.StringIO(), width=80), Console(file=io.StringIO(), _environ={"TERM": "dumb"})):
        await _told(console, monkeypatch)
        assert isinstance(console.file, io.StringIO)
        lines = console.file.getvalue().splitlines()
        assert len(lines) >= 1
        assert all(line.startswith("50 of 200 orders after 0:00:0") and line.endswith(" left") for line in lines)


async def test_a_program_that_reads_the_document_is_told_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console(file=io.StringIO(), width=80)
    await _told(console, monkeypatch, quiet=True)
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue() == ""


async def test_the_bar_has_the_rate_and_the_time_that_is_left_and_fits_a_terminal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None, force_interactive=True)
    await _told(console, monkeypatch)
    assert isinstance(console.file, io.StringIO)
    bar, *_ = console.file.getvalue().split("\x1b[2K")[-1].splitlines()
    assert " 50/200 " in bar
    assert "/s 0:00:00 " in bar
    assert len(bar) <= 80
