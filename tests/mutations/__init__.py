"""Deliberate defects: each is put into a copy of the tree, and a named test must fail there.

A test that cannot fail proves nothing; here is the proof that those which matter can.

| module | holds |
|---|---|
| `mutation` | what a defect is: texts to replace, and the tests that must notice |
| `__main__` | puts them in, one after the other: `make mutations`, or `python -m tests.mutations WORD` |

Each of the other modules holds defects of one subject, as data in `MUTATIONS`. `make test` checks that the text of each
defect still applies and that its tests exist.

The version check of a row is one of two: SQLite takes its write lock before it reads, and PostgreSQL runs at REPEATABLE
READ, so both would notice too. Its test therefore saves rows of an older transaction, where nothing but the check can
notice.
"""

from importlib import import_module
from pathlib import Path

from .mutation import Mutation

_SUBJECTS = sorted({path.stem for path in Path(__file__).parent.glob("[a-z]*.py")} - {"mutation", "test_list"})
MUTATIONS: tuple[Mutation, ...] = sum((import_module(f"{__name__}.{name}").MUTATIONS for name in _SUBJECTS), ())
