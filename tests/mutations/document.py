"""The list of defects as docs/mutations.md."""

from __future__ import annotations

from collections.abc import Sequence

from .mutation import ROOT, Mutation

DOCUMENT = ROOT / "docs/mutations.md"

_HEAD = """\
# Mutations

A test that cannot fail proves nothing. Each line is a deliberate defect and the tests that fail when it is put into the
code. `make mutations` puts them in, one after the other, into a copy of the tree: it exits 0 only if every named test
passes without the defect and fails with it. `.venv/bin/python -m tests.mutations tombstone` tries those with that word.

The list is data, in `tests/mutations/`; this page is written from it by `python -m tests.mutations --document`, and
`make test` checks that it is up to date, that the text of each defect still applies and that the tests exist.

| defect | in | fails |
|---|---|---|
"""
_TAIL = """
The version check is one of two: SQLite takes its write lock before it reads, and PostgreSQL runs at REPEATABLE READ, so
both would notice too. Its test therefore saves rows of an older transaction, where nothing but the check can notice.
"""


def document(mutations: Sequence[Mutation]) -> str:
    return _HEAD + "".join(map(_line, mutations)) + _TAIL


def _line(mutation: Mutation) -> str:
    tests = ", ".join(f"`{test.partition('::')[2]}`" for test in mutation.tests)
    return f"| {mutation.defect} | {', '.join(f'`{file}`' for file in mutation.files)} | {tests} |\n"
