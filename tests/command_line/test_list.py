"""The rows of `list`: their order, and their words."""

import re
from datetime import UTC, datetime, timedelta

import pytest

from cli import listing
from cli.words import counted, lasted
from client.listing import ListedOrder, in_order
from temporal_saga import State

from .conftest import Run

_AT = datetime(2026, 1, 1, tzinfo=UTC)


def _row(name: str, minutes: int, state: State = State.CONFIRMED) -> ListedOrder:
    started = _AT + timedelta(minutes=minutes)
    return ListedOrder(
        order_id=name,
        transaction_id=f"order/{name}",
        state=state,
        error_code=None,
        started_at=started,
        ended_at=started + timedelta(seconds=1.5) if state.is_end else None,
        kind="saga",
        coordinator=f"order/{name}",
    )


_ROWS = [
    _row("ended-last", 1),
    _row("newest", 9),
    _row("parked", 2, State.PARKED),
    _row("longer-parked", 0, State.PARKED),
]


def test_what_is_parked_comes_first_and_then_the_newest() -> None:
    assert [row.order_id for row in in_order(_ROWS)] == ["parked", "longer-parked", "newest", "ended-last"]


def test_the_title_counts_in_words_and_says_where_more_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    listing._show(_ROWS[:1], 20)
    listing._show(_ROWS, 4)
    shown = capsys.readouterr().out
    assert shown.startswith("1 order\n")
    assert "the newest 4 orders, 2 of them parked; --limit N lists more" in shown


def test_a_row_says_how_an_order_travels_how_long_it_took_and_who_coordinates_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    listing._show(_ROWS[:1], 20)
    [row] = [line for line in capsys.readouterr().out.splitlines() if "ended-last" in line]
    assert re.split(r" {2,}", row.strip()) == [
        *("ended-last", "saga", "CONFIRMED", "2026-01-01 00:01:00", "1.5 s", "order/ended-last")
    ]


def test_a_count_of_one_is_singular() -> None:
    assert [counted(number, "order") for number in (0, 1, 2)] == ["0 orders", "1 order", "2 orders"]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.04, "0.0 s"), (59, "59.0 s"), (61, "1 min"), (5400, "1.5 h"), (200_000, "2.3 d"), (-1, "0.0 s")],
)
def test_a_time_is_told_in_its_largest_unit(seconds: float, words: str) -> None:
    assert lasted(timedelta(seconds=seconds)) == words


def test_a_state_is_taken_in_any_case(run: Run) -> None:
    assert run("list", "--state", "parked").code == 3
    answer = run("list", "--state", "parkt")
    assert answer.code == 2
    assert "Did you mean 'PARKED'?" in answer.err
