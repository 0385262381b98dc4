"""Deliberate defects: each is put into a copy of the tree, and a named test must fail there.

A test that cannot fail proves nothing; here is the proof that those which matter can.

| module | holds |
|---|---|
| `mutation` | what a defect is: texts to replace, and the tests that must notice |
| `kernel`, `services`, `outside` | the defects, as data |
| `__main__` | puts them in, one after the other: `python -m tests.mutations` |
| `document` | the list as docs/mutations.md |
"""

from .kernel import KERNEL
from .outside import OUTSIDE
from .services import SERVICES

MUTATIONS = (*KERNEL, *SERVICES, *OUTSIDE)
