"""docs/own-step.md, followed to the letter in a copy of the repository: its service passes the generated tests, orders
with its step end as they should, and what is left to do is told. A service of `make new-service` passes them too."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from activities.catalogue import SERVICES
from tests.tools import new_service

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/own-step.md").read_text()
MOST_LINES = 80
_LEFT_BEHIND = shutil.ignore_patterns(
    ".git", ".venv", "data", "node_modules", "histories", "__pycache__", ".*_cache", ".hypothesis", "docs.html"
)
_OTHER = "insurance"
"""A second service, which the templates make."""
_ITS_LINES = {
    "contracts/catalogue.py": (
        ("import inventory", f"import {_OTHER}, inventory"),
        (", loyalty)", f", loyalty, {_OTHER})"),
    ),
    "activities/catalogue.py": (
        ("from activities.inventory", f"from activities.{_OTHER} import {_OTHER.upper()}\nfrom activities.inventory"),
        (", LOYALTY)", f", LOYALTY, {_OTHER.upper()})"),
    ),
}
"""What the catalogues have, and what they have with the second service."""

_TIMEOUT_S = 300
"""For one command in the copy, on a busy machine."""
_IN_THE_COPY = ("-m", "not processes", "-p", "no:cacheprovider", "-p", "no:xdist", "-o", "addopts=", "--color=no")

_SHIPPED = {"order", "payment", "inventory", "shipping", "notification"}
pytestmark = [
    pytest.mark.skipif(SERVICES.keys() != _SHIPPED, reason="the page changes the process as it is shipped"),
    pytest.mark.long,
    pytest.mark.processes,
    pytest.mark.timeout(2 * _TIMEOUT_S),
    pytest.mark.xdist_group("own step"),
]


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
OF_THE_STEP = [block for block in CHANGED if block.file not in {new.file for new in NEW}]
"""Without the query, which the page adds to the new files."""


def test_the_service_is_four_files_and_at_most_eighty_lines() -> None:
    assert len(NEW) == 4
    assert sum(len(block.lines) for block in NEW) <= MOST_LINES
    added = [line for block in OF_THE_STEP for line in block.lines if line.startswith("+")]
    assert (len(added), len(OF_THE_STEP)) == (9, 3), "the page says nine lines in three files"


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
    for file, lines in _ITS_LINES.items():
        for before, after in lines:
            _replace(copy / file, before, after)
    return copy


def _change(path: Path, diff: str) -> None:
    """Replace the lines of each hunk that are not new by those that are not old."""
    for hunk in re.split(r"^@@.*\n", diff, flags=re.MULTILINE):
        lines = hunk.splitlines(keepends=True)
        before, after = ("".join(line[1:] for line in lines if line[0] != sign) for sign in "+-")
        _replace(path, before, after)


def _replace(path: Path, before: str, after: str) -> None:
    text = path.read_text()
    assert text.count(before) == 1, f"{path.name} has not once:\n{before}"
    path.write_text(text.replace(before, after))


def _run(copy: Path, *arguments: str, code: int = 0) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["COLUMNS"] = "500"  # pytest cuts what a test says to the width of the terminal
    done = subprocess.run(
        [sys.executable, *arguments],
        env=environment,
        cwd=copy,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def test_the_service_passes_the_tests_that_are_generated_for_it(followed: Path) -> None:
    modules = ("fence", "purity", "concurrency", "migrations", "retention", "errors", "skips", "random_orders")
    files = [f"tests/services/test_{module}.py" for module in modules]
    chosen = ["-k", f"loyalty or {_OTHER} or every or audit_clean", "--durations=25"]
    told = _run(followed, "-m", "pytest", *files, *_IN_THE_COPY, *chosen)
    print(told)
    passed = re.search(r"(\d+) passed", told)
    assert passed is not None
    assert int(passed[1]) > 40, told


@pytest.mark.parametrize("arguments", ["ruff check .", "ruff format --check .", "mypy"])
def test_the_code_of_the_page_passes_what_every_change_must_pass(followed: Path, arguments: str) -> None:
    _run(followed, "-m", *arguments.split())


def test_orders_with_the_step_end_as_they_should_and_the_audit_is_clean(followed: Path, tmp_path: Path) -> None:
    told = _run(followed, "-m", "tests.docs.own_order", str(tmp_path)).splitlines()[-1]
    assert json.loads(told) == {
        "states": {"order/alone": "CONFIRMED", "order/by-events": "CONFIRMED", "order/undone": "ROLLED_BACK"},
        "points": {"order/alone": "GRANTED 12", "order/by-events": "GRANTED 12", "order/undone": "REVOKED 12"},
        "violations": [],
        "answer": 24,
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
        *["deploy/alerts_test.yml"] * 2,
        "deploy/prometheus.yml",
        "docs/runbook.md",
        *["docs/operations.md"] * 3,
    ]
    assert "| `loyalty.revoke` | `loyalty.grant` | `loyalty` | `GrantPoints`: `transaction_id`," in told
    assert "workflows/order.py: give Requests a BookInsurance" in _run(
        followed, "-m", "tests.tools.new_service", _OTHER
    )


@pytest.mark.skipif(shutil.which("promtool") is None, reason="tests/deployment says where to get promtool")
def test_the_alert_of_the_service_passes_its_test_with_the_lines_that_are_told(followed: Path, tmp_path: Path) -> None:
    deploy = shutil.copytree(followed / "deploy", tmp_path / "deploy")
    told = _run(followed, "-m", "tests.tools.new_service", "loyalty")
    for name, line in re.findall(r"^- deploy/(alerts\w*\.yml): add .*?: (.*)$", told, re.MULTILINE):
        beside = line.replace("loyalty", "notification")
        [indented] = [each for each in (deploy / name).read_text().splitlines(keepends=True) if each.strip() == beside]
        _replace(deploy / name, indented, indented + indented.replace(beside, line))
    test = ["promtool", "test", "rules", "alerts_test.yml"]
    done = subprocess.run(test, cwd=deploy, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def changed(followed: Path) -> Iterator[Path]:
    """The copy, for a test that changes the files of the service; they are as they were afterwards."""
    before = {file: (followed / file).read_text() for file in {block.file for block in NEW}}
    yield followed
    for file, text in before.items():
        (followed / file).write_text(text)


@pytest.mark.parametrize(
    ("file", "before", "after", "told"),
    [
        (
            "tests/services/samples/loyalty.py",
            "(Sample(loyalty.grant, _few, other=_many),)",
            "()",
            "tests/services/samples/loyalty.py: loyalty.grant has no sample: add Sample(loyalty.grant, request, other=",
        ),
        (
            "activities/loyalty.py",
            "[grant, revoke]",
            "[grant]",
            "activities/loyalty.py: no handler implements loyalty.revoke: add revoke to the handlers of LOYALTY",
        ),
        (
            "activities/loyalty.py",
            "[Query(loyalty.read_points, read_points)]",
            "()",
            "activities/loyalty.py: no query answers loyalty.read_points: add Query(loyalty.read_points, …)",
        ),
        (
            "activities/migrations/loyalty/0001_create_the_tables.py",
            "create_all_shared_tables()\n    op.create_table(",
            "create_all_shared_tables()\n    return\n    op.create_table(",
            "activities/migrations/loyalty: it does not make table points",
        ),
        (
            "activities/migrations/loyalty/0001_create_the_tables.py",
            '        sa.Column("state", sa.String(32), nullable=False),\n',
            "",
            "activities/migrations/loyalty: it does not make column state of table points",
        ),
        (
            "contracts/loyalty.py",
            ", undoes=grant)",
            ")",
            "contracts/loyalty.py: loyalty.revoke takes the request of loyalty.grant: give it undoes=grant",
        ),
    ],
    ids=[
        "the sample",
        "the handler of the undo",
        "the answer to the query",
        "a table",
        "a column",
        "what the undo undoes",
    ],
)
def test_what_was_left_out_is_told_by_the_list_and_by_the_tests_in_the_same_words(
    changed: Path, file: str, before: str, after: str, told: str
) -> None:
    _replace(changed / file, before, after)
    assert f"\n- {told}" in _run(changed, "-m", "tests.tools.new_service", "loyalty")
    modules = [f"tests/services/test_{module}.py" for module in ("fence", "errors", "migrations", "retention")]
    found = _run(changed, "-m", "pytest", *modules, *_IN_THE_COPY, "-k", "loyalty", "--tb=line", code=1)
    failed = [line for line in found.splitlines() if line.startswith("FAILED")]
    assert failed
    assert [line for line in failed if told not in line] == []


def test_a_file_that_is_missing_is_written_again_and_the_list_says_if_it_does_not_fit(changed: Path) -> None:
    for service, file in ((_OTHER, "contracts"), (_OTHER, "activities"), ("loyalty", "tests/services/samples")):
        (changed / file / f"{service}.py").unlink()
        told = _run(changed, "-m", "tests.tools.new_service", service)
        assert told.startswith(f"written: {file}/{service}.py\nleft to do")
        assert ("make the two fit" in told) == (service == "loyalty")
    assert "- tests/services/samples/loyalty.py: cannot import name 'BookLoyalty' from 'contracts.loyalty'" in told


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
        ("message", "NAME: contracts/message.py exists already, and declares no service message"),
        ("fence", "NAME: activities/fence.py exists already, and declares no service fence"),
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
