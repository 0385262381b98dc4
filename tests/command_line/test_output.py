"""How a command ends does not depend on who takes what it says; and what it says cannot act on a terminal."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import IO

import pytest
from rich.text import Text

from audit.report import Invariant, Report, Violation
from cli import show
from cli.audit import print_report
from runtime.visible import visible
from temporal_saga import Failure, State, TransactionLog
from tests.end_to_end.system import ROOT

pytestmark = pytest.mark.xdist_group("output")

_PROGRAM = """
import typer
from cli import show
from runtime.commandline import CommandFailed, Exit, run
app = typer.Typer()
@app.command()
def main(what: str) -> int:
    if what == "failure":
        raise CommandFailed("X", "it is not so", Exit.NOT_ENDED)
    if what == "short":
        show.document({"state": "Zoë"})
        return 4
    show.document(["x" * 100] * 2_000)
    show.table("many", ["a", "b"], [("…", number) for number in range(500)])
    for number in range(1000):
        show.line("a line — ", str(number))
        show.remark(f"{number} remarks…")
    return 4
run(app)
"""

Taker = Callable[[], IO[bytes] | int]


def _full() -> IO[bytes]:
    return open("/dev/full", "wb")  # noqa: PTH123 — closed with the process


def _left() -> int:
    reading, writing = os.pipe()
    os.close(reading)
    return writing


def _run(what: str, *, out: IO[bytes] | int, err: IO[bytes] | int = subprocess.PIPE, **more: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, what],
        cwd=ROOT,
        stdout=out,
        stderr=err,
        env=os.environ | more,
        check=False,
        timeout=60,
    )
    return done.returncode, (done.stderr or b"").decode()


@pytest.mark.parametrize("what", [pytest.param("everything", marks=pytest.mark.long), "short"])
def test_a_full_disk_is_said_in_one_line_and_changes_no_exit_code(what: str) -> None:
    code, said = _run(what, out=_full())
    assert code == 4
    remarks = [line for line in said.splitlines() if "remarks" not in line]
    assert remarks == ["the output could not be written: No space left on device; the exit code is the command's own"]


@pytest.mark.parametrize("what", ["short", "failure"])
def test_a_reader_who_leaves_changes_neither_the_exit_code_nor_stderr(what: str) -> None:
    code, said = _run(what, out=_left())
    assert (code, said) == (4, "error: it is not so\n" if what == "failure" else "")


@pytest.mark.parametrize("taker", [pytest.param(_full, marks=pytest.mark.long), _left])
def test_remarks_that_cannot_be_written_change_no_exit_code(taker: Taker) -> None:
    assert _run("everything", out=taker(), err=taker()) == (4, "")


@pytest.mark.parametrize(("what", "closed"), [("failure", ">&-"), ("everything", "<&- >&- 2>&-")])
def test_streams_that_were_closed_from_the_start_change_no_exit_code(what: str, closed: str) -> None:
    shell = f'exec "{sys.executable}" -c "$PROGRAM" {what} {closed}'
    done = subprocess.run(
        ["/bin/sh", "-c", shell], cwd=ROOT, env=os.environ | {"PROGRAM": _PROGRAM}, capture_output=True, check=False
    )
    assert done.returncode == 4
    if closed == ">&-":
        assert b"the output could not be written: it is closed" in done.stderr
        assert done.stdout == b""
    if what == "failure" and "2>" not in closed:
        assert b"error: it is not so" in done.stderr
    assert b"Traceback" not in done.stderr


def test_a_terminal_that_has_not_all_characters_changes_no_exit_code() -> None:
    code, said = _run("everything", out=subprocess.DEVNULL, PYTHONIOENCODING="ascii")
    assert code == 4
    assert said.startswith("0 remarks\\u2026\n")


HOSTILE = "\x1b[2J\x9b31m\u202egnp.exe\u2066\u200b\ufeff\u2028\x07\r\n[red]x[/] \ud800"


def test_what_a_terminal_would_obey_or_hide_is_written_as_an_escape() -> None:
    assert visible(HOSTILE) == (
        "\\x1b[2J\\x9b31m\\u202egnp.exe\\u2066\\u200b\\ufeff\\u2028\\x07\\r\\n[red]x[/] \\ud800"
    )


@pytest.mark.parametrize("text", ["Zoë", "東京\u3000都", "می\u200cخواهم", "1\u00a0000 €", "❤\ufe0f"])  # noqa: RUF001
def test_what_can_be_seen_is_shown_as_it_is(text: str) -> None:
    assert visible(text) == text


def _all_that_is_shown(capsys: pytest.CaptureFixture[str]) -> str:
    log = TransactionLog(f"order/{HOSTILE}", State.CONFIRMED, Failure("CODE", HOSTILE, HOSTILE))
    show.outcome(log)
    show.line(HOSTILE, Text("coloured", "red"))
    show.remark(HOSTILE)
    show.table("hostile", ["a"], [(HOSTILE,)])
    show.document({"error": HOSTILE.replace("\ud800", "")})
    shown = capsys.readouterr()
    return shown.out + shown.err


def test_nothing_from_outside_reaches_a_terminal_as_it_was_stored(capsys: pytest.CaptureFixture[str]) -> None:
    shown = _all_that_is_shown(capsys)
    assert {character for character in HOSTILE if not character.isprintable()} & set(shown) <= {"\n"}
    assert shown.count("[red]x[/]") >= 5  # markup of others colours nothing


def test_a_document_says_the_same_in_ascii(capsys: pytest.CaptureFixture[str]) -> None:
    show.document({"name": "Zoë \u202e😀"})
    printed = capsys.readouterr().out
    assert printed.isascii()
    assert json.loads(printed) == {"name": "Zoë \u202e😀"}


_LOGGING = """
import logging
import temporalio.activity
from runtime import logs
from runtime.settings import LogFormat
from temporalio.exceptions import ApplicationError
logs.configure(LogFormat.CONSOLE)
try:
    raise ValueError("\\x9b in a message")
except ValueError:
    logging.getLogger("x").exception("said \\x1b[2J", extra={"note": "\\u202e note"})
for error in (ApplicationError("no stock"), KeyError("a bug")):
    try:
        raise error
    except Exception:
        temporalio.activity.logger.base_logger.warning("Completing activity as failed", exc_info=True)
"""


@pytest.fixture(scope="module")
def logged() -> str:
    return subprocess.run([sys.executable, "-c", _LOGGING], cwd=ROOT, capture_output=True, check=True).stderr.decode()


def test_a_log_line_for_a_terminal_quotes_nothing_that_it_would_obey(logged: str) -> None:
    assert "said \\x1b[2J" in logged
    assert "\\u202e note" in logged
    assert "ValueError: \\x9b in a message" in logged
    assert not {"\x1b", "\x9b", "\u202e"} & set(logged)
    assert logged.count("\n") >= 4  # a traceback stays readable


def test_a_failure_that_a_service_names_is_logged_without_a_traceback_of_the_sdk(logged: str) -> None:
    assert "no stock" not in logged
    assert "KeyError: 'a bug'" in logged


def test_an_audit_says_none_of_what_a_service_lacks(capsys: pytest.CaptureFixture[str]) -> None:
    lacking = Violation(
        invariant=Invariant.ALL_OR_NOTHING, subject="o-1", message="so", figures={"a": "KEPT", "b": None}
    )
    print_report(Report.of(1, [lacking]))
    assert "o-1: so (a=KEPT, b=none)" in capsys.readouterr().out
