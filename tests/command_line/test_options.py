"""A value that is given but empty is never taken for one that is absent, in whichever command and option."""

import os
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import typer

import starter
import worker
from cli.lazy import LazyCommand
from runtime.commandline import guarded

from ..end_to_end.command import Program
from .conftest import Run


def _parameters(app: typer.Typer) -> Iterator[tuple[str, Any, Any]]:
    """The path of each command, the command, and each of its parameters that takes a value."""
    waiting: list[tuple[str, Any]] = [("", guarded(typer.main.get_command(app)))]
    while waiting:
        path, command = waiting.pop()
        if isinstance(command, LazyCommand):
            command = command.loaded
        waiting += [(f"{path} {name}", each) for name, each in getattr(command, "commands", {}).items()]
        for parameter in command.params:
            if not getattr(parameter, "is_flag", False) and not hasattr(command, "commands"):
                yield path.strip(), command, parameter


_ALL = [*_parameters(starter.app), *_parameters(worker.app)]


@pytest.mark.parametrize("empty", ["", " "])
@pytest.mark.parametrize(
    ("command", "parameter"),
    [(command, parameter) for _, command, parameter in _ALL],
    ids=[f"{path} {parameter.name}".strip() for path, _, parameter in _ALL],
)
def test_every_option_and_argument_refuses_an_empty_value(command: Any, parameter: Any, empty: str) -> None:
    given = [empty] if parameter.param_type_name == "argument" else [parameter.opts[0], empty]
    others = [
        word
        for other in command.params
        if other.required and other is not parameter
        for word in ([other.opts[0], "1"] if other.param_type_name == "option" else [])
    ]
    arguments = [
        "1" if other is not parameter else empty
        for other in command.params
        if other.param_type_name == "argument" and (other.required or parameter.param_type_name == "argument")
    ]
    words = [*others, *(given if parameter.param_type_name == "option" else []), *arguments]
    with pytest.raises(typer.BadParameter, match="it is empty"):
        command.main(args=words, standalone_mode=False)


def test_there_are_many_options_and_arguments() -> None:
    names = {f"{path} {parameter.name}" for path, _, parameter in _ALL}
    assert {"place id", "place customer", "cancel reason", "desk skip actor", "list state", "transaction lane"} <= names
    assert len(names) >= 40


@pytest.mark.parametrize(
    "words",
    [
        ["place", "--item", "BOOK-1:1", "--id", ""],
        ["desk", "skip", "o-1", "payment.cancel", "--actor", "", "--reason", "x"],
        ["place", ""],
    ],
    ids=" ".join,
)
def test_an_empty_value_is_invalid_input_in_one_line_that_names_it(run: Run, words: list[str]) -> None:
    answer = run(*words)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.count("\n") == 1
    assert "it is empty; give a value" in answer.err
    named = next((word for word, value in pairwise(words) if not value), "")
    assert not named.startswith("--") or f"'{named}'" in answer.err


def test_a_mode_that_does_not_exist_is_told_with_those_that_do(run: Run) -> None:
    answer = run("bulk", "--count", "1", "--mode", "lane")
    assert answer.code == 2
    modes = "'saga', 'colocated', 'choreography', 'batch'"
    assert answer.err.startswith(f"error: Invalid value for '--mode': 'lane' is not one of {modes}.")


def test_a_command_with_values_goes_on_to_look_for_a_server(run: Run) -> None:
    assert run("place", "--item", "BOOK-1:1", "--id", "o-1", "--customer", "c-1").code == 3


def test_a_state_that_does_not_exist_is_told_with_its_option(run: Run) -> None:
    answer = run("list", "--state", "BROKEN")
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith("error: Invalid value for '--state': 'BROKEN' is not one of 'RUNNING', ")


@pytest.mark.parametrize("given", [["--port", "7300"], ["--ui-port", "8233"]], ids=" ".join)
def test_an_option_of_the_embedded_server_is_refused_without_one(given: list[str], tmp_path: Path) -> None:
    """A worker that ignored it would serve another server than its user means."""
    worker = Program(["worker.py", *given], tmp_path, os.environ | {"TEMPORAL_ADDRESS": "127.0.0.1:1"})
    assert worker.wait() == 2
    assert (worker.out, worker.err.count("\n")) == ("", 1)
    assert worker.err.startswith(f"error: {given[0]}: goes with --embedded")


def test_the_embedded_server_and_its_web_ui_need_two_ports(tmp_path: Path) -> None:
    ports = ["--port", "17999", "--ui-port", "17999"]
    worker = Program(["worker.py", "--embedded", *ports, "--data", str(tmp_path)], tmp_path, dict(os.environ))
    assert worker.wait() == 2
    assert worker.err == "error: --port and --ui-port: 17999 cannot be both; name another for one of them\n"
