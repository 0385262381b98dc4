"""The list of defects is kept: what it replaces is there, and what it names exists."""

import ast
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from . import MUTATIONS
from .mutation import ROOT, Edit, Mutation, Rotten

_READERS = {".py": ast.parse, ".toml": tomllib.loads, ".yml": YAML(typ="safe").load}
every_mutation = pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.defect)


@every_mutation
def test_a_defect_applies_and_leaves_what_can_be_read(tmp_path: Path, mutation: Mutation) -> None:
    for file in mutation.files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, tmp_path / file)
    for edit in mutation.edits:
        edit.apply(tmp_path)
    for file in mutation.files:
        read: Any = _READERS[Path(file).suffix]
        read((tmp_path / file).read_text())


@pytest.mark.parametrize("text", ["not there", "twice"])
def test_a_text_that_is_not_there_exactly_once_is_said(tmp_path: Path, text: str) -> None:
    (tmp_path / "file.py").write_text("twice, twice")
    with pytest.raises(Rotten):
        Edit("file.py", text, "").apply(tmp_path)


@every_mutation
def test_every_test_that_must_notice_a_defect_exists(mutation: Mutation) -> None:
    for test in mutation.tests:
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
