"""The list of defects is kept: what it replaces is there, and what it names exists."""

import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from . import MUTATIONS
from .mutation import ROOT, Edit, Rotten

_READERS: dict[str, Callable[[str], Any]] = {".toml": tomllib.loads, ".yml": YAML(typ="safe").load}
_IMPORT = re.compile(r"^from (?P<module>\S+) import (?P<name>\w+)$", re.MULTILINE)


@pytest.fixture(scope="module")
def mutated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for each defect, by its place in the list, with the files that it changes."""
    root = tmp_path_factory.mktemp("mutated")
    for place, mutation in enumerate(MUTATIONS):
        tree = root / str(place)
        for file in mutation.files:
            (tree / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / file, tree / file)
        for edit in mutation.edits:
            edit.apply(tree)
    return root


def test_every_defect_leaves_what_can_be_read(mutated: Path) -> None:
    ruff = [
        str(Path(sys.executable).with_name("ruff")),
        "check",
        "--isolated",
        "--no-cache",
        "--select=F821",
        str(mutated),
    ]
    checked = subprocess.run(ruff, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, f"a test would fail for a name that is missing:\n{checked.stdout}"
    for file in (file for file in mutated.rglob("*.*") if file.suffix in _READERS):
        _READERS[file.suffix](file.read_text())


def test_every_defect_imports_what_exists() -> None:
    for mutation in MUTATIONS:
        for added in (found for edit in mutation.edits for found in _IMPORT.finditer(edit.by)):
            assert hasattr(import_module(added["module"]), added["name"]), mutation.defect


@pytest.mark.parametrize("text", ["not there", "twice"])
def test_a_text_that_is_not_there_exactly_once_is_said(tmp_path: Path, text: str) -> None:
    (tmp_path / "file.py").write_text("twice, twice")
    with pytest.raises(Rotten):
        Edit("file.py", text, "").apply(tmp_path)


def test_every_test_that_must_notice_a_defect_exists() -> None:
    for test in (test for mutation in MUTATIONS for test in mutation.tests):
        file, name = test.split("[")[0].split("::")
        assert f"def {name}(" in (ROOT / file).read_text()


@pytest.mark.long  # it collects the whole suite
def test_every_case_that_must_notice_a_defect_exists() -> None:
    cases = dict.fromkeys(test for mutation in MUTATIONS for test in mutation.tests)
    command = [sys.executable, "-m", "pytest", "--collect-only", "-qq", "-m", "", *cases]
    collected = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert collected.returncode == 0, collected.stdout + collected.stderr


def test_each_defect_is_there_once_and_named_tests_are_its_proof() -> None:
    assert len({mutation.defect for mutation in MUTATIONS}) == len(MUTATIONS) >= 12
    assert all(mutation.tests for mutation in MUTATIONS)
