"""What a command says while it waits, and what is said and goes on when the person leaves."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from contracts import shipping
from contracts.order import NotificationMode

from ..command_line.terminal import Terminal
from ..eventually import eventually
from ..roles import calls_in, plan_in
from .conftest import Make
from .system import ROOT, System

pytestmark = pytest.mark.xdist_group("system")

_STARTER = str(ROOT / "starter.py")


def _on_terminal(system: System, *words: str, term: str = "xterm") -> Terminal:
    return Terminal([_STARTER, *words], term=term, environment=system.environment, folder=system.folder)


def _document(order: dict[str, Any], folder: Path) -> str:
    (folder / f"{order['order_id']}.json").write_text(json.dumps(order))
    return f"{order['order_id']}.json"


def test_place_says_at_once_what_it_starts_and_on_ctrl_c_that_it_goes_on_and_what_shows_it(
    system: System, order: Make
) -> None:
    placed = order("hang")
    order_id = placed["order_id"]
    terminal = _on_terminal(system, "place", _document(placed, system.folder))
    page = f"http://127.0.0.1:{system.ui_port}/namespaces/default/workflows/order%2F{order_id}"
    terminal.until_shown(f"starting {order_id}: {page}")
    terminal.until_shown("shipping.schedule")  # the live line, while the courier does not answer
    assert "CONFIRMED" not in terminal.shown
    terminal.press(b"\x03")
    assert terminal.end() == 4
    told = f"error: interrupted; {order_id} goes on: `starter.py status {order_id} --watch` shows it"
    assert told in terminal.shown.splitlines()
    assert "Traceback" not in terminal.shown
    assert system.run("cancel", order_id, "--reason", "seen enough").code == 0
    assert system.run("status", order_id, "--watch", "--json").document["state"] == "ROLLED_BACK"


def test_a_program_that_ends_a_waiting_command_gets_one_document(system: System, order: Make) -> None:
    placed = order("hang")
    waiting = system.start_command("place", "-", "--json", stdin=json.dumps(placed))
    eventually(lambda: system.run("status", placed["order_id"]).code != 2, "the order is there")
    waiting.end(signal.SIGTERM)
    answer = waiting.answer()
    assert (answer.code, answer.document["error"]["code"]) == (4, "INTERRUPTED")
    assert placed["order_id"] in answer.document["error"]["message"]


@pytest.mark.long
def test_where_nothing_can_move_each_change_is_a_line(system: System, order: Make) -> None:
    placed = order("slow")
    terminal = _on_terminal(system, "place", _document(placed, system.folder), term="dumb")
    terminal.until_shown("order.create")
    answer = system.run("place", "-", stdin=json.dumps(placed))
    assert {terminal.end(), answer.code} <= {0, 1}
    assert "starting" not in answer.out
    for shown in (terminal.shown, answer.err):
        lines = [line[10:] for line in shown.splitlines() if line[8:10] == "Z "]
        assert any(line.startswith("shipping.schedule step RUNNING") for line in lines)
        assert any(line.startswith("payment.authorize step DONE after ") for line in lines)
    assert "\x1b" not in terminal.written + answer.err


def test_without_a_terminal_a_document_comes_alone(system: System, order: Make) -> None:
    answer = system.place(order())
    assert (answer.document["order_id"] is not None, answer.err) == (True, "")


@pytest.mark.parametrize("mode", ["saga", pytest.param("choreography", marks=pytest.mark.long)])
def test_status_tells_the_steps_that_are_still_to_come(system: System, order: Make, mode: str) -> None:
    placed = order("slow")
    assert system.place(placed, "--no-wait", "--mode", mode).code == 0

    def steps_to_come() -> list[str]:
        document = system.run("status", placed["order_id"], "--json").document
        made = {step["step"] for step in document["steps"]}
        coming = [step["step"] for step in document["to_come"]]
        assert not made & set(coming)
        return coming if "shipping.schedule" in made else []

    coming = eventually(steps_to_come, "it waits for its courier")
    planned = calls_in(NotificationMode.BEST_EFFORT)
    following = planned[planned.index(shipping.schedule) + 1]
    undos = {undo.name for undo, _ in plan_in(NotificationMode.BEST_EFFORT).undos}
    assert coming[0] in {following.name} | undos
    ended = system.run("status", placed["order_id"], "--watch", "--json")
    assert (ended.document["state"] in ("CONFIRMED", "ROLLED_BACK"), ended.document["to_come"]) == (True, [])


def test_no_wait_prints_one_line_and_the_view_of_the_command_in_it_moves_until_the_end(
    system: System, order: Make
) -> None:
    placed = order("slow")
    order_id = placed["order_id"]
    answer = system.run("place", "-", "--no-wait", stdin=json.dumps(placed))
    assert answer.out == f"{order_id} RUNNING; `starter.py status {order_id} --watch` follows it\n"
    terminal = _on_terminal(system, "status", order_id, "--watch")
    terminal.until_shown(order_id)  # a slow machine may show it first when nothing is to come any more
    assert terminal.end() in (0, 1)
    assert terminal.shown.rstrip().splitlines()[-1].split()[-4:] != ["to", "come"]
    assert f"{order_id}: " in terminal.shown
