"""The transaction log for people: what was the pivot, what ran side by side, who skipped what, what comes next."""

import io
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.console import Console

from cli import log, orders
from client.engines.engine import OrderStatus
from client.handles import PendingCall
from client.look import Look
from client.to_come import StepToCome
from contracts.ids import Coordinator
from temporal_saga import CallKind, Entry, Failure, Parked, Skipped, State, Status, TransactionLog
from tests.recorded import outcomes

_NOW = datetime(2026, 3, 1, 12, 0, 30, tzinfo=UTC)
_BEGUN = _NOW - timedelta(seconds=30)


def _lines(saga: TransactionLog, columns: int = 200, **beside: Any) -> list[str]:
    status = OrderStatus(saga, closed=False, coordinator=Coordinator.parse(saga.transaction_id))
    drawn = io.StringIO()
    console = Console(file=drawn, width=columns, height=50, color_system=None)
    console.print(log.LogView(Look(status, **beside), _NOW), soft_wrap=True)
    return drawn.getvalue().splitlines()


def _marks(lines: list[str]) -> dict[str, str]:
    """What stands before each step."""
    return {line[2:].split()[0]: line[0] for line in lines[3:] if line[:2].strip() or line[2:3].strip()}


def _parked(**changes: Any) -> Entry:
    entry = Entry("payment.cancel", "payment", CallKind.UNDO, Status.PARKED, 4, _BEGUN, None, "SERVICE_UNAVAILABLE")
    return replace(entry, parked_since=_BEGUN + timedelta(seconds=3), **changes)


def _saga(*steps: Entry, state: State = State.PARKED) -> TransactionLog:
    return TransactionLog("order/o-1", state, Failure("STEP_TIMEOUT", "no answer", "shipping.schedule"), steps)


def _trip() -> TransactionLog:
    """A confirmed saga whose groups of calls ran for a second each."""
    groups = [
        [("trip.book", CallKind.STEP)],
        [("car.hold", CallKind.STEP), ("hotel.hold", CallKind.STEP), ("tour.hold", CallKind.STEP)],
        [("trip.insure", CallKind.STEP)],
        [("trip.pay", CallKind.PIVOT)],
        [("car.collect", CallKind.FINISH), ("mail.send", CallKind.BEST_EFFORT)],
    ]
    entries = []
    for second, group in enumerate(groups):
        begun, ended = _BEGUN + timedelta(seconds=second), _BEGUN + timedelta(seconds=second + 1)
        entries += [Entry(step, step.partition(".")[0], kind, Status.DONE, 1, begun, ended) for step, kind in group]
    return TransactionLog("trip/1", State.CONFIRMED, steps=tuple(entries))


def test_the_pivot_is_marked_and_what_ran_side_by_side_is_bracketed() -> None:
    assert _marks(_lines(_trip())) == {
        "trip.book": " ",
        "car.hold": "┌",
        "hotel.hold": "│",
        "tour.hold": "└",
        "trip.insure": " ",
        "trip.pay": "◆",
        "car.collect": "┌",
        "mail.send": "└",
    }


def test_a_terminal_that_has_only_ascii_gets_marks_that_it_has() -> None:
    ascii_only = io.TextIOWrapper(io.BytesIO(), "ascii")
    status = OrderStatus(_trip(), closed=True, coordinator=Coordinator.parse("order/o-1"))
    Console(file=ascii_only, width=100, height=50).print(log.LogView(Look(status)), soft_wrap=True)
    assert ascii_only.seek(0) == 0
    assert [line[0] for line in ascii_only.read().splitlines()[3:]] == [*" /|\\ */\\"]


def test_each_call_of_a_rollback_says_what_it_is() -> None:
    kinds = {line[2:].split()[0]: line[2:].split()[1] for line in _lines(outcomes()["demo-letter"])[3:]}
    assert kinds["shipping.cancel"] == "undo"
    assert kinds["order.create"] == "step"
    assert {line.split()[1] for line in _lines(outcomes()["demo-confirmed"]) if "send_confirmation" in line} >= {
        "notification.send_confirmation"
    }


def test_a_skip_says_who_decided_it_and_why() -> None:
    saga = outcomes()["parked-undo-skipped"]
    [skipped] = [entry.skipped for entry in saga.steps if entry.skipped]
    assert isinstance(skipped, Skipped)
    told = " ".join(" ".join(_lines(saga, 80)).split())
    assert f"skipped by {skipped.actor} at {skipped.at:%Y-%m-%d %H:%M:%S}Z: {skipped.reason}" in told


def test_a_parked_call_says_for_how_long_why_and_when_its_next_round_is() -> None:
    error = Failure("SERVICE_UNAVAILABLE", "the service is down")
    parked = Parked("payment.cancel", CallKind.UNDO, _BEGUN, 4, _NOW + timedelta(seconds=20), error)
    lines = _lines(_saga(_parked()), parked={"payment.cancel": parked})
    assert lines[-1].endswith("the service is down; parked for 30.0 s, next round in 20.0 s")


def test_a_parked_call_that_is_being_tried_says_so_and_counts_the_running_attempt() -> None:
    error = Failure("SERVICE_UNAVAILABLE", "the service is down")
    parked = Parked("payment.cancel", CallKind.UNDO, _BEGUN, 4, _NOW, error, trying_since=_NOW)
    pending = PendingCall("payment.cancel", 2, is_running=True, next_at=None, failure=None)
    saga = _saga(_parked())
    [row] = _lines(saga, parked={"payment.cancel": parked}, pending={"payment.cancel": pending})[3:]
    assert row.endswith("parked for 30.0 s, being tried")
    assert row.split()[3] == "6"


def test_the_steps_to_come_follow_those_that_were_made() -> None:
    coming = [
        StepToCome(step="order.cancel", service="order", kind=CallKind.UNDO, stage=0),
        StepToCome(step="notification.send_cancellation", service="notification", kind=CallKind.BEST_EFFORT, stage=1),
    ]
    lines = _lines(_saga(_parked()), to_come=coming)
    assert [line.split()[0] for line in lines[-2:]] == ["order.cancel", "notification.send_cancellation"]
    assert all("to come" in line for line in lines[-2:])


def test_where_nothing_can_move_a_line_tells_only_what_has_changed() -> None:
    pending = PendingCall("payment.cancel", 1, is_running=True, next_at=None, failure=None)
    running = _saga(_parked(status=Status.RUNNING, attempts=0), state=State.COMPENSATING)
    status = OrderStatus(running, closed=False, coordinator=Coordinator.parse("order/o-1"))
    first, second = Look(status, pending={"payment.cancel": pending}), Look(status, pending={"payment.cancel": pending})
    assert log.told(first, _NOW) == log.told(second, _NOW + timedelta(hours=1))
    again = Look(status, pending={"payment.cancel": replace(pending, attempt=2)})
    [line] = log.told(again, _NOW).values()
    assert line == "payment.cancel undo RUNNING (SERVICE_UNAVAILABLE), attempt 2"


def test_a_call_that_no_worker_takes_up_says_whose_worker_is_missing() -> None:
    entry = Entry("payment.authorize", "payment", CallKind.STEP, Status.RUNNING, 0, _BEGUN)
    pending = {"payment.authorize": PendingCall("payment.authorize", 1, is_running=False, next_at=None, failure=None)}
    saga = TransactionLog("order/o-1", State.RUNNING, None, (entry,))
    assert _lines(saga, pending=pending)[-1].endswith("waits for a worker of payment")
    taken_up = {"payment.authorize": replace(pending["payment.authorize"], is_running=True)}
    assert "worker" not in _lines(saga, pending=taken_up)[-1]


@pytest.mark.parametrize(("seconds", "said"), [(0.014, "14 ms"), (1, "1.0 s"), (22.04, "22.0 s"), (150, "2 min")])
def test_a_length_of_time_has_the_one_unit_that_says_enough(seconds: float, said: str) -> None:
    assert log.span(seconds) == said


def test_a_call_whose_service_is_still_working_is_shown_with_the_time_of_the_next_question() -> None:
    wait = Entry("approval", "saga", CallKind.WAIT, Status.DONE, 0, _BEGUN, _BEGUN)
    entry = Entry("payment.capture", "payment", CallKind.FINISH, Status.WAITING, 0, _BEGUN)
    entry.next_question_at = _NOW + timedelta(minutes=10)
    saga = _saga(wait, entry, state=State.RUNNING)
    text = "\n".join(_lines(saga))
    assert "WAITING" in text
    assert "still working, next question in 10 min" in text
    assert "wait" in text
    look = Look(OrderStatus(saga, closed=False, coordinator=Coordinator.parse(saga.transaction_id)))
    assert log.told(look, _NOW)["payment.capture", CallKind.FINISH] == (
        "payment.capture finish WAITING: next question at 12:10:30Z"
    )


def test_an_order_goes_on_until_each_call_after_its_pivot_has_ended() -> None:
    whole = _trip()
    begun = replace(whole, steps=(*whole.steps[:-1], replace(whole.steps[-1], ended_at=None)))
    decided = replace(whole, steps=whole.steps[:-2])  # a colocated order is decided before the next call begins
    assert [orders.goes_on(each) for each in (decided, begun, whole, replace(whole, steps=()))] == [
        True,
        True,
        False,
        False,
    ]
