"""What `retire` and `erase` accept, before they look for a server."""

from datetime import timedelta

import pytest

from audit.report import Invariant, Report, Violation
from cli.retire import _duration, _require_clean
from client.retirement import Plan
from contracts.message import LEASE
from runtime.commandline import CommandFailed, Exit

from .conftest import Run

_CONFIRM = ("--reason", "asked to", "--actor", "ann")


@pytest.mark.parametrize(("text", "age"), [("90d", timedelta(days=90)), ("12h", timedelta(hours=12))])
def test_an_age_is_a_number_of_days_or_hours(text: str, age: timedelta) -> None:
    assert _duration(text) == age


@pytest.mark.parametrize("text", ["90", "d", "0d", "-1d", "1.5d", "90 days", "100000d", "3m", "٣d", "90d90d"])
def test_an_age_in_another_form_is_refused_in_one_line(run: Run, text: str) -> None:
    answer = run("retire", f"--older-than={text}")
    assert (answer.code, answer.out) == (2, "")
    assert answer.err == (
        f"error: --older-than {text}: write a number of days or hours from 1 to 99999, such as 90d or 12h\n"
    )


@pytest.mark.parametrize("batch", ["0", "501", "x"])
def test_a_batch_has_one_to_five_hundred_transactions(run: Run, batch: str) -> None:
    answer = run("retire", "--older-than", "90d", "--batch", batch)
    assert answer.code == 2
    assert "--batch" in answer.err
    assert answer.err.count("\n") == 1


def test_an_age_is_longer_than_any_hold_lives(run: Run) -> None:
    answer = run("retire", "--older-than", "1h")
    assert (answer.code, answer.err) == (2, "error: --older-than 1h: at least 2h, the life of a hold\n")
    assert timedelta(hours=2) == LEASE


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("no one", *_CONFIRM), "CUSTOMER no one: must be 1 to 64 letters"),
        (("c-1", "--reason", "\u200b", "--actor", "ann"), "--reason: must be text"),
        (("c-1", "--reason", "asked to", "--actor", "\u200b"), "--actor: must be text"),
        (("c-1", "--reason", "asked to"), "Missing option '--actor'"),
    ],
)
def test_an_erasure_names_what_is_wrong_with_its_words(run: Run, words: tuple[str, ...], why: str) -> None:
    answer = run("erase", *words)
    assert answer.code == 2
    assert why in answer.err
    assert answer.err.count("\n") == 1


_PLAN = Plan(before=None, transactions={"order/o-1": ["order/o-1"], "t-1": ["t-1", "t-1/goods"]})  # type: ignore[arg-type]  # no time is needed


def _report(check: Invariant, subject: str) -> Report:
    return Report.of(1, [Violation(invariant=check, subject=subject, message="", figures={})])


@pytest.mark.parametrize(
    ("check", "subject"),
    [
        (Invariant.ALL_OR_NOTHING, "o-1"),
        (Invariant.ORPHANS, "transaction/t-1"),
        (Invariant.SINGLE_EFFECT, "order/o-1"),
        (Invariant.SINGLE_EFFECT, "t-1/goods"),
        (Invariant.STOCK, "BOOK-1"),
        (Invariant.MONEY, "c-1"),
    ],
)
def test_a_violation_that_the_old_rows_may_explain_keeps_them_all(check: Invariant, subject: str) -> None:
    with pytest.raises(CommandFailed) as refused:
        _require_clean(_report(check, subject), _PLAN)
    assert refused.value.exit_code is Exit.VIOLATIONS
    assert f"{check} {subject}" in refused.value.message


@pytest.mark.parametrize("subject", ["o-2", "transaction/t-2", "t-10/goods"])
def test_a_violation_of_another_order_keeps_nothing(subject: str) -> None:
    _require_clean(_report(Invariant.ALL_OR_NOTHING, subject), _PLAN)
