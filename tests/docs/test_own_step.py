"""docs/own-step.md, followed to the letter in a copy of the repository: its service passes the generated tests, orders
with its step end as they should, and what is left to do is told. A service of `make new-service` passes them too."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.tools import new_service

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/own-step.md").read_text()
MOST_LINES = 80
_LEFT_BEHIND = shutil.ignore_patterns(
    ".git", ".venv", "data", "node_modules", "histories", "__pycache__", ".*_cache", ".hypothesis", "docs.html"
)
_OTHER = "insurance"
"""A second service, which the templates make."""

pytestmark = [pytest.mark.long, pytest.mark.processes, pytest.mark.xdist_group("own step")]


class Block(NamedTuple):
    file: str
    language: str
    text: str

    @property
    def lines(self) -> list[str]:
        return [line for line in self.text.splitlines() if line.strip()]


_BLOCK = re.compile(r"^`([\w/.]+)`:\n\n```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = [Block(*found) for found in _BLOCK.findall(PAGE)]
NEW = [block for block in BLOCKS if block.language == "python"]
CHANGED = [block for block in BLOCKS if block.language == "diff"]


def test_the_service_is_four_files_and_at_most_eighty_lines() -> None:
    assert len(NEW) == 4
    assert sum(len(block.lines) for block in NEW) <= MOST_LINES
    added = [line for block in CHANGED for line in block.lines if line.startswith("+")]
    assert (len(added), len(CHANGED)) == (9, 3), "the page says nine lines in three files"


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository in which the page was followed, and in which a second service was made."""
    copy = tmp_path_factory.mktemp("own") / "copy"
    shutil.copytree(ROOT, copy, ignore=_LEFT_BEHIND)
    for block in NEW:
        (copy / block.file).parent.mkdir(exist_ok=True)
        (copy / block.file).write_text(block.text)
    for block in CHANGED:
        _change(copy / block.file, block.text)
    assert _run(copy, "-m", "tests.tools.new_service", _OTHER).startswith("written: contracts/insurance.py\n")
    for catalogue, name in (("contracts", _OTHER), ("activities", _OTHER.upper())):
        path, last = copy / catalogue / "catalogue.py", "loyalty" if catalogue == "contracts" else "LOYALTY"
        text = path.read_text().replace(f", {last})", f", {last}, {name})")
        importing = f"from {catalogue}{'' if catalogue == 'contracts' else '.' + _OTHER} import {name}"
        path.write_text(text.replace("\nfrom ", f"\n{importing}\nfrom ", 2).replace(f"\n{importing}", "", 1))
    return copy


def _change(path: Path, diff: str) -> None:
    """Replace the lines of each hunk that are not new by those that are not old."""
    text = path.read_text()
    for hunk in re.split(r"^@@.*\n", diff, flags=re.MULTILINE):
        lines = hunk.splitlines(keepends=True)
        before = "".join(line[1:] for line in lines if line[0] != "+")
        assert text.count(before) == 1, f"{path.name} has not once:\n{before}"
        text = text.replace(before, "".join(line[1:] for line in lines if line[0] != "-"))
    path.write_text(text)


def _run(copy: Path, *arguments: str, code: int = 0) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(
        [sys.executable, *arguments],
        env=environment,
        cwd=copy,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def test_the_service_passes_the_tests_that_are_generated_for_it(followed: Path) -> None:
    modules = ("fence", "purity", "concurrency", "migrations", "retention", "errors", "skips", "random_orders")
    files = [f"tests/services/test_{module}.py" for module in modules]
    chosen = [
        "-m",
        "not processes",
        "-k",
        f"loyalty or {_OTHER} or every or audit_clean",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
    ]
    told = _run(followed, "-m", "pytest", *files, *chosen, "-o", "addopts=", "--color=no", "--durations=25")
    print(told)
    passed = re.search(r"(\d+) passed", told)
    assert passed is not None
    assert int(passed[1]) > 40, told


def test_orders_with_the_step_end_as_they_should_and_the_audit_is_clean(followed: Path, tmp_path: Path) -> None:
    told = _run(followed, "-m", "tests.docs.own_order", str(tmp_path)).splitlines()[-1]
    assert json.loads(told) == {
        "states": {"order/alone": "CONFIRMED", "order/by-events": "CONFIRMED", "order/undone": "ROLLED_BACK"},
        "points": {"order/alone": "GRANTED 12", "order/by-events": "GRANTED 12", "order/undone": "REVOKED 12"},
        "violations": [],
    }


def test_what_is_left_to_do_is_told_with_the_file_and_the_text_to_add(followed: Path) -> None:
    told = _run(followed, "-m", "tests.tools.new_service", "loyalty")
    files = re.findall(r"^- ([\w./-]+): ", told, re.MULTILINE)
    assert files == [
        "pyproject.toml",
        "tests/wire/messages.json",
        "docker-compose.yml",
        "deploy/databases.sql",
        "deploy/alerts.yml",
        "deploy/prometheus.yml",
        "docs/runbook.md",
        *["docs/operations.md"] * 2,
    ]
    assert "| `loyalty.revoke` | `loyalty.grant` | `loyalty` | `GrantPoints`: `transaction_id`," in told
    assert "workflows/order.py: give Requests a BookInsurance" in _run(
        followed, "-m", "tests.tools.new_service", _OTHER
    )


def test_the_messages_of_the_service_break_no_running_build(followed: Path) -> None:
    record = followed / "tests/wire/messages.json"
    before = record.read_text()
    _run(followed, "-m", "tests.wire")
    assert "GrantPoints" in record.read_text()
    record.write_text(before)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("", "NAME: '' names no service"),
        ("Loyalty", "NAME: 'Loyalty' names no service"),
        ("class", "NAME: 'class' names no service"),
        ("message", "NAME: contracts/message.py exists already"),
        ("fence", "NAME: activities/fence.py exists already"),
    ],
)
def test_a_name_that_no_service_can_have_is_refused_and_nothing_is_written(
    name: str, problem: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["new_service", name])
    with pytest.raises(SystemExit, match="2"):
        new_service.main()
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith(problem)
    assert told.err.count("\n") == 1
