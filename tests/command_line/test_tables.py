"""Tables cut nothing, on a terminal of any width and kind: an id, a step or a code can be pasted from what is shown."""

import io
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from cli import show
from cli.table import Spare, Table, Under
from tests.recorded import outcomes

from .terminal import Terminal

pytestmark = pytest.mark.xdist_group("tables")

_SHOW_ALL = """
from cli import show
from tests.recorded import outcomes
for log in outcomes().values():
    show.outcome(log)
"""


class Screen(NamedTuple):
    columns: int
    term: str = "xterm"
    colours: bool = True

    def ended(self) -> Terminal:
        environment = {} if self.colours else {"NO_COLOR": "1"}
        terminal = Terminal(["-c", _SHOW_ALL], self.columns, self.term, environment)
        assert terminal.end() == 0
        return terminal


_LONG_ID = "an-order-id-of-64-characters-" + 35 * "x"
_TEXT = "payment database: no answer within 4 s, which is longer than what stands beside an id of that length"


_SCREENS = {
    "80": Screen(80),
    "100": Screen(100),
    "100, dumb": Screen(100, "dumb"),
    "80, no colours": Screen(80, colours=False),
}


@pytest.fixture(scope="module")
def screens() -> dict[str, Terminal]:
    """Every recorded outcome on a terminal of each kind."""
    return {name: screen.ended() for name, screen in _SCREENS.items()}


@pytest.mark.parametrize("screen", _SCREENS)
def test_every_id_step_and_code_of_every_recorded_outcome_is_whole(screens: dict[str, Terminal], screen: str) -> None:
    words = set(screens[screen].shown.split())
    logs = outcomes().values()
    assert len(logs) >= 30
    wanted = {log.transaction_id.rpartition("/")[2] + ":" for log in logs}
    wanted |= {entry.step for log in logs for entry in log.steps}
    codes = {entry.error_code for log in logs for entry in log.steps if entry.error_code}
    assert len(codes) >= 8
    assert wanted - words == set()
    assert codes - {word.rstrip(":") for word in words} == set()


@pytest.mark.parametrize("screen", _SCREENS)
def test_no_row_of_a_recorded_outcome_is_wider_than_the_terminal(screens: dict[str, Terminal], screen: str) -> None:
    rows = screens[screen].shown.splitlines()
    assert len(rows) > 200
    assert [row for row in rows if len(row) > _SCREENS[screen].columns] == []


def test_without_colours_a_terminal_gets_the_same_words(screens: dict[str, Terminal]) -> None:
    coloured, plain = screens["80"], screens["80, no colours"]
    assert coloured.is_coloured
    assert not plain.is_coloured
    assert plain.shown == coloured.shown


def test_a_dumb_terminal_gets_tables_of_its_own_width(screens: dict[str, Terminal]) -> None:
    assert screens["100, dumb"].shown == screens["100"].shown
    assert "\x1b" not in screens["100, dumb"].written


def _drawn(table: Table, columns: int) -> list[str]:
    drawn = io.StringIO()
    Console(file=drawn, width=columns, height=50, force_terminal=True, color_system=None).print(table, soft_wrap=True)
    return drawn.getvalue().splitlines()


def _calls(order_id: str, text: str) -> Table:
    return Table("", ["order", "step", Spare("kind"), Under("error")], [(order_id, "payment.cancel", "undo", text)])


def test_a_long_text_goes_under_its_row() -> None:
    _, _, row, *under = _drawn(_calls("o-1001", _TEXT), 80)
    assert row == "o-1001  payment.cancel  undo"
    assert " ".join(" ".join(under).split()) == _TEXT
    assert len(under) > 1


def test_a_text_that_fits_stays_in_its_row() -> None:
    assert _drawn(_calls("o-1001", _TEXT), 140)[2:] == [f"o-1001  payment.cancel  undo  {_TEXT}"]


def test_a_row_that_does_not_fit_becomes_a_paragraph() -> None:
    assert _drawn(_calls(_LONG_ID, "no answer"), 60) == [
        _LONG_ID,
        "    step payment.cancel  kind undo",
        "    no answer",
    ]


def test_a_narrow_terminal_is_without_what_it_can_do_without() -> None:
    head, *_ = _drawn(_calls(_LONG_ID, "no answer"), 80)
    assert head.split() == ["order", "step"]


def test_rows_with_a_text_below_each_are_ruled_off() -> None:
    rows = [(f"o-{number}", "payment.cancel", "undo", _TEXT) for number in range(3)]
    lines = _drawn(Table("", ["order", "step", Spare("kind"), Under("error")], rows), 60)
    assert sum(set(line) == {"─"} for line in lines) == 3  # below the head, and between the rows


def test_a_pipe_gets_each_row_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    show.table("", ["order", Under("error")], [(_LONG_ID, _TEXT * 3)] * 2)
    assert capsys.readouterr().out.splitlines()[2:] == [f"{_LONG_ID}  {_TEXT * 3}"] * 2


def test_a_column_of_texts_that_are_all_empty_is_left_out() -> None:
    assert _drawn(Table("", ["order", Under("code")], [("o-1", None), ("o-2", "")]), 80)[0] == "order"


_WORD = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=30)


@settings(deadline=None)
@given(st.lists(st.tuples(_WORD, _WORD, _WORD, _WORD), min_size=1, max_size=4), st.integers(1, 150))
def test_no_width_cuts_a_word_that_must_be_whole(rows: list[tuple[str, ...]], columns: int) -> None:
    words = set(" ".join(_drawn(Table("", ["a", "b", Spare("c"), Under("d")], rows), columns)).split())
    assert {row[at] for row in rows for at in (0, 1)} - words == set()
