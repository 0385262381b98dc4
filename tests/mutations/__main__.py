"""Put each defect into a copy of the tree and see its tests fail there: `python -m tests.mutations [WORD ...]`.

Words choose the defects that have them all in their text. Exit 0 only if every one was caught, by a test that passes
without it.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from queue import Queue

from . import MUTATIONS
from .mutation import ROOT, Mutation

_LEFT_BEHIND = shutil.ignore_patterns(".git", ".venv", "data", "node_modules", "__pycache__", ".*_cache", ".hypothesis")
_TEST_TIMEOUT_S = 300
"""For one test under a defect: one that makes it hang must end too. pytest's own limit of 120 s comes first."""
_TREES = os.cpu_count() or 1
"""Copies of the tree, with a defect at a time in each."""
_ALL_TIMEOUT_S = 1800
"""For all named tests without a defect."""
_FAILED = re.compile(r"^FAILED \S+(?: - (?P<why>.*))?", re.MULTILINE)


def _pytest(tree: Path, tests: Sequence[str], timeout_s: int) -> subprocess.CompletedProcess[str]:
    # Without bytecode: a file changed within the same second and of the same size would pass for the one before.
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "160"}
    command = [sys.executable, "-m", "pytest", "-x", "--tb=line", "-p", "no:cacheprovider", "-m", "", *tests]
    return subprocess.run(
        command, cwd=tree, env=environment, capture_output=True, text=True, timeout=timeout_s, check=False
    )


def _why_it_fails(tree: Path, test: str) -> str | None:
    """What the test says about the defect in `tree`; `None` if it does not fail. A test that breaks is no failure."""
    try:
        done = _pytest(tree, [test], _TEST_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return f"hangs for {_TEST_TIMEOUT_S} s"
    failed = _FAILED.search(done.stdout)
    return (failed["why"] or "failed") if done.returncode == 1 and failed is not None else None


def _is_caught(trees: Queue[Path], mutation: Mutation) -> bool:
    tree = trees.get()
    before = {file: (tree / file).read_text() for file in mutation.files}
    for edit in mutation.edits:
        edit.apply(tree)
    reasons = {test: _why_it_fails(tree, test) for test in mutation.tests}
    for file, text in before.items():
        (tree / file).write_text(text)
    trees.put(tree)
    caught = None not in reasons.values()
    lines = (f"          {test.partition('::')[2]}: {why or 'PASSES'}" for test, why in reasons.items())
    print("\n".join([f"{'caught' if caught else 'MISSED'}  {mutation.defect}", *lines]), flush=True)
    return caught


def _run(mutations: Sequence[Mutation]) -> int:
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="order-saga-mutations-") as folder:
        tree, trees = Path(folder) / "0", Queue[Path]()
        for place in range(_TREES):
            shutil.copytree(ROOT, tree.with_name(str(place)), ignore=_LEFT_BEHIND)
            trees.put(tree.with_name(str(place)))
        tests = dict.fromkeys(test for mutation in mutations for test in mutation.tests)
        sane = _pytest(tree, list(tests), _ALL_TIMEOUT_S)
        if sane.returncode != 0:
            print(f"without any defect the tests do not pass:\n{sane.stdout}{sane.stderr}")
            return 1
        print(f"{len(tests)} tests pass without a defect", flush=True)
        with ThreadPoolExecutor(_TREES) as pool:
            caught = list(pool.map(partial(_is_caught, trees), mutations))
    missed = caught.count(False)
    print(f"{len(mutations) - missed} of {len(mutations)} caught in {time.monotonic() - started:.0f} s")
    return 1 if missed else 0


def main(arguments: Sequence[str]) -> int:
    chosen = [mutation for mutation in MUTATIONS if all(word in mutation.defect for word in arguments)]
    if not chosen:
        print(f"no defect has the words {' '.join(arguments)}")
        return 2
    return _run(chosen)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
