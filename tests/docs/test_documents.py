"""Paths in the documents exist, commands in them are commands, requirements name tests that exist."""

import ast
import re
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from contracts.catalogue import OPERATIONS
from contracts.errors import Code
from contracts.transaction import MAX_STEPS
from runtime.settings import Settings
from starter import COMMANDS

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([ROOT / "README.md", ROOT / "tests/README.md", *(ROOT / "docs").rglob("*.md")])
_CODE = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\]\(([^)#:]+)\)")
_PATHS = re.compile(r"^\.?[\w-]+(/[\w.-]*)+$|^[\w-]+\.(py|md|toml|yml|txt)$|^Makefile$")
_TO_BE_MADE = re.compile(r"insurance|loyalty")
"""The worked examples of docs/architecture.md and docs/own-step.md add files that are not there."""


def _id(document: Path) -> str:
    return str(document.relative_to(ROOT))


@pytest.mark.parametrize("document", DOCUMENTS, ids=_id)
def test_every_path_in_a_document_exists(document: Path) -> None:
    text = document.read_text()
    named = [word for word in _CODE.findall(text) if _PATHS.match(word) and not _TO_BE_MADE.search(word)]
    missing = [name for name in named if not (ROOT / name).exists() and not _is_generated(name)]
    missing += [link for link in _LINK.findall(text) if not (document.parent / link).exists()]
    assert missing == []


def test_the_most_steps_of_a_transaction_are_the_documented_ones() -> None:
    assert f"| `steps` | 1 to {MAX_STEPS}, run in this order" in (ROOT / "docs/own-service.md").read_text()


def _is_generated(name: str) -> bool:
    return name in {"temporal.toml", ".venv"} or name.startswith(("order/", "transaction/", "lane/", "data/"))


@pytest.mark.parametrize("document", DOCUMENTS, ids=_id)
def test_every_command_in_a_document_is_one(document: Path) -> None:
    text = document.read_text()
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    used = set(re.findall(r"(?:^|`|KEEP=1 )make ([a-z-]+)", text, re.MULTILINE))
    assert used <= targets
    assert set(re.findall(r"starter\.py ([a-z]+)", text)) <= COMMANDS.keys()


def test_the_two_commands_of_the_readme_are_those_of_ci() -> None:
    readme = (ROOT / "README.md").read_text()
    assert "```sh\nmake demo\n```" in readme
    assert "```sh\nmake test\n```" in readme
    assert "make test" in (ROOT / ".ci/run").read_text()


def test_make_help_lists_every_target() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout  # noqa: S607
    assert set(re.findall(r"^make ([a-z-]+)", shown, re.MULTILINE)) == targets


def test_the_readme_explains_every_setting() -> None:
    readme = (ROOT / "README.md").read_text()
    assert [name for name in Settings.model_fields if f"`{name.upper()}`" not in readme] == []


def test_every_operation_and_its_input_is_listed() -> None:
    rows = {}
    for line in (ROOT / "docs/operations.md").read_text().splitlines():
        if found := re.match(r"\| `(\w+\.\w+)` \|", line):
            rows[found[1]] = set(re.findall(r"`(\w+)`", line.split("|")[4])[1:])
    assert rows == {name: set(operation.request.model_fields) for name, operation in OPERATIONS.items()}


def test_what_each_operation_undoes_or_acts_on_is_listed() -> None:
    told = re.findall(r"^\| `(\w+\.\w+)` \| ?(.*?) \|", (ROOT / "docs/operations.md").read_text(), re.MULTILINE)
    undoes = {name: f"`{each.undoes.name}`" for name, each in OPERATIONS.items() if each.undoes}
    acts_on = {name: f"acts on `{each.acts_on.name}`" for name, each in OPERATIONS.items() if each.acts_on}
    assert {name: other for name, other in told if other} == undoes | acts_on


def test_every_refusal_of_a_service_is_explained() -> None:
    text = (ROOT / "docs/operations.md").read_text()
    raised = set()
    for module in (ROOT / "activities").glob("*.py"):
        raised |= set(re.findall(r"RefusedDecision\(\s*Code\.(\w+)", module.read_text()))
    assert {code for code in raised if code not in text} == {"CANCELLED"} & raised
    assert raised <= {code.name for code in Code}


def _tests() -> Counter[str]:
    names = Counter[str]()
    for file in (ROOT / "tests").rglob("test_*.py"):
        tree = ast.parse(file.read_text())
        names.update(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return names


def test_every_requirement_names_tests_that_exist_and_that_no_other_test_is_named_as() -> None:
    text = (ROOT / "docs/requirements.md").read_text()
    named = set(re.findall(r"`(test_\w+)`", text))
    assert named
    there = _tests()
    assert {name: there[name] for name in named if there[name] != 1} == {}


def test_every_row_that_is_built_has_a_line() -> None:
    rows: list[str] = re.findall(r"^\| ([A-E]\d) \|", (ROOT / "docs/requirements.md").read_text(), re.MULTILINE)
    count = {"A": (1, 2, 3, 4, 5, 7), "B": range(1, 6), "C": range(1, 9), "D": range(1, 7), "E": range(1, 9)}
    built = {f"{letter}{number}" for letter, numbers in count.items() for number in numbers}
    assert built - set(rows) == set()
    assert len(rows) == len(set(rows))
