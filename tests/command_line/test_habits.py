"""What people expect of any command line: help and version at once, completion, and a hint at what was meant."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import get_args

import pytest
from pydantic import Field, TypeAdapter, ValidationError, create_model
from pydantic_core.core_schema import ErrorType

from cli.lazy import LazyCommand
from contracts.order import NotificationMode, OrderLine
from contracts.problems import _IN_WORDS, first_problem
from starter import COMMANDS
from tests.end_to_end.system import ROOT

from .conftest import Run


@pytest.mark.parametrize("option", ["-h", "--version"])
def test_help_and_version_import_neither_temporal_nor_a_database(option: str) -> None:
    command = [sys.executable, "-X", "importtime", "starter.py", option]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "typer" in imported
    assert {
        name for name in imported if name.split(".")[0] in ("temporalio", "sqlalchemy", "pydantic", "structlog")
    } == set()


_ORDERS = "import cli.orders; from runtime.settings import Settings; Settings.read({'DATABASE_URL': '%s'})"
_SPARED: dict[str, tuple[str, set[str]]] = {
    "orders": (
        _ORDERS % "postgresql+asyncpg://services:pw@db:5432/{service}",
        {"sqlalchemy", "alembic", "jinja2", "structlog", "audit", "activities", "workflows"},
    ),
    "audit": ("import cli.audit, audit.run", {"alembic", "jinja2", "structlog", "workflows"}),
}


@pytest.mark.parametrize(("command", "spared"), _SPARED.values(), ids=_SPARED.keys())
def test_a_command_imports_and_builds_only_what_it_needs(command: str, spared: set[str]) -> None:
    tell = f"print({spared} & set(sys.modules), Order.__pydantic_complete__)"
    program = f"{command}; import sys; from contracts.order import Order; {tell}"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "set() False\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_the_line_of_a_command_is_the_first_of_its_own_help(name: str) -> None:
    where, line = COMMANDS[name]
    own = LazyCommand(name, where, line).loaded.help
    assert " ".join(own.split("\n\n")[0].split()) == line


def test_a_command_of_a_group_has_help_too(run: Run) -> None:
    shown = run("desk", "skip", "-h").out
    assert "Usage: starter.py desk skip" in shown
    assert re.search(r"--json +Print one JSON document", shown), "a flag takes no value"


def test_the_version_is_that_of_the_project(run: Run) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert re.match(rf"order saga {re.escape(version)}, temporalio [\d.]+, Python 3", run("--version").out)


MEANT: dict[str, tuple[list[str], str]] = {
    "a command": (["plaec"], "Did you mean 'place'?"),
    "a command of a group": (["desk", "rety"], "Did you mean 'retry'?"),
    "an option": (["place", "--itm", "x"], "Did you mean '--item'"),
    "a choice": (["bulk", "--count", "1", "--mode", "choregraphy"], "Did you mean 'choreography'?"),
    "a choice in capitals": (["graph", "--format", "SVGG"], "Did you mean 'svg'?"),
}


@pytest.mark.parametrize(("words", "hint"), MEANT.values(), ids=MEANT.keys())
def test_a_word_that_is_nearly_right_is_answered_with_the_right_one(run: Run, words: list[str], hint: str) -> None:
    answer = run(*words)
    assert (answer.code, answer.out, answer.err.count("\n")) == (2, "", 1)
    assert hint in answer.err


def test_a_negative_number_is_not_taken_for_an_option(run: Run) -> None:
    answer = run("stock", "set", "BOOK-1", "-512")
    assert answer.code == 2
    assert answer.err.startswith("error: -512 is a negative number, and none can be given here; write 0 or more")


@pytest.mark.parametrize(
    "words", [["stock", "set", "BOOK-1", "many"], ["bulk", "--count", "0"], ["bulk", "--count", "x"]]
)
def test_a_value_is_refused_in_words(run: Run, words: list[str]) -> None:
    answer = run(*words)
    assert answer.code == 2
    assert re.search(r"must be (a whole number|at least 1) \(", answer.err)


def test_a_document_of_another_command_is_recognised(run: Run, tmp_path: Path) -> None:
    order, transaction = str(ROOT / "examples/order.json"), str(ROOT / "examples/transaction.json")
    assert "this is a transaction: `starter.py transaction FILE` runs it" in run("place", transaction).err
    assert "this is an order: `starter.py place FILE` places it" in run("transaction", order).err
    orders = tmp_path / "orders.json"
    orders.write_text(json.dumps([json.loads(Path(order).read_text())]))
    assert "this is a list of orders" in run("place", str(orders)).err
    assert "write one order a line; `starter.py place FILE` places one over" in run("bulk", order).err


_WRONG: list[tuple[object, str]] = [
    ({"sku": "BOOK-1", "quantity": 1}, "unit_price_minor: is required and missing"),
    ({"sku": "B/1", "quantity": 1, "unit_price_minor": 1}, "sku: must be 1 to 64 letters"),
    ({"sku": "B", "quantity": 0, "unit_price_minor": 1}, "quantity: must be at least 1"),
    ({"sku": "B", "quantity": "2", "unit_price_minor": 1}, "quantity: must be a whole number"),
    ({"sku": "B", "quantity": 99_999, "unit_price_minor": 1}, "quantity: must be at most 10000"),
    ([], "must be a JSON object"),
]


@pytest.mark.parametrize(("document", "words"), _WRONG, ids=[words for _, words in _WRONG])
def test_a_problem_of_a_document_is_told_in_words(document: object, words: str) -> None:
    with pytest.raises(ValidationError) as refused:
        OrderLine.model_validate(document)
    assert first_problem(refused.value).startswith(words)


def test_a_choice_in_a_document_is_told_with_what_was_meant() -> None:
    with pytest.raises(ValidationError) as refused:
        TypeAdapter(NotificationMode).validate_python("best_efort")
    told = "must be one of 'best_effort' or 'required'; did you mean 'best_effort'?"
    assert first_problem(refused.value) == told
    with pytest.raises(ValidationError) as no_list:
        TypeAdapter(list[OrderLine]).validate_python(3)
    assert first_problem(no_list.value) == "must be a list"


def test_a_list_is_not_too_short_because_of_what_is_wrong_in_it() -> None:
    model = create_model("Cart", lines=(tuple[OrderLine, ...], Field(min_length=1)))
    line = {"sku": "B", "quantity": 1, "unit_price_minor": 1}
    for lines, told in (
        ([line | {"quantity": 0}], "lines.0.quantity: must be at least 1"),
        ([line | {"quantity": 0}] * 2, "lines.0.quantity: must be at least 1 (and 1 more)"),
        ([], "lines: must have at least 1, and has 0"),
    ):
        with pytest.raises(ValidationError) as refused:
            model.model_validate({"lines": lines})
        assert first_problem(refused.value) == told


@pytest.mark.parametrize("words", [[], ["place"], ["desk"], ["desk", "list"], ["stock", "set"]], ids=" ".join)
def test_the_help_names_a_type_for_no_flag(run: Run, words: list[str]) -> None:
    answer = run(*words, "--help")
    assert answer.code == 0
    assert "--help" in answer.out
    assert "<bool>" not in answer.out


def test_no_other_problem_is_told_in_the_words_of_pydantic() -> None:
    with pytest.raises(ValidationError) as refused:
        TypeAdapter(bytes).validate_python(3)
    assert first_problem(refused.value) == "must be a valid bytes"
    assert _IN_WORDS.keys() <= set(get_args(ErrorType))


_COMPLETE = """
. "$SCRIPT"
complete_words() {
  COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); _starterpy_completion ./starter.py; echo "${COMPREPLY[@]}"
}
complete_words ./starter.py pla
complete_words ./starter.py place --mode c
complete_words ./starter.py desk sk
"""


def test_the_shell_completes_commands_options_and_choices(tmp_path: Path) -> None:
    """As README has it: `./starter.py` in the activated virtual environment."""
    script = tmp_path / "completion.sh"
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    shown = _bash("./starter.py --show-completion bash; exit $?", PATH=path)  # it asks which shell its parent is
    script.write_text(shown)
    completed = _bash(_COMPLETE, PATH=path, SCRIPT=str(script)).splitlines()
    assert completed == ["place", "colocated choreography", "skip"]


def _bash(text: str, **environment: str) -> str:
    done = subprocess.run(
        ["/bin/bash", "-c", text], cwd=ROOT, env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout
