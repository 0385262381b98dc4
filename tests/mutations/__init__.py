"""Deliberate defects: each is put into a copy of the tree, and a named test must fail there.

A test that cannot fail proves nothing; here is the proof that those which matter can.

| module | holds |
|---|---|
| `mutation` | what a defect is: texts to replace, and the tests that must notice |
| `__main__` | puts them in, one after the other: `make mutations`, or `python -m tests.mutations WORD` |

Each of the other modules holds defects of one subject, as data. `make test` checks that the text of each defect still
applies and that its tests exist.

The version check of a row is one of two: SQLite takes its write lock before it reads, and PostgreSQL runs at REPEATABLE
READ, so both would notice too. Its test therefore saves rows of an older transaction, where nothing but the check can
notice.
"""

from .command_line import COMMAND_LINE
from .databases import DATABASES
from .decisions import DECISIONS
from .delivery import DELIVERY
from .desk import DESK
from .earlier import EARLIER
from .encryption import ENCRYPTION
from .events import EVENTS
from .fence import FENCE
from .going_away import GOING_AWAY
from .input_output import INPUT_OUTPUT
from .kernel import KERNEL
from .library import LIBRARY
from .outside import OUTSIDE
from .second_operations import SECOND_OPERATIONS
from .services import SERVICES
from .sweep import SWEEP
from .versions import VERSIONS
from .ways import WAYS
from .web_ui import WEB_UI

MUTATIONS = (
    *COMMAND_LINE,
    *DATABASES,
    *DECISIONS,
    *DELIVERY,
    *DESK,
    *EARLIER,
    *ENCRYPTION,
    *EVENTS,
    *FENCE,
    *GOING_AWAY,
    *INPUT_OUTPUT,
    *KERNEL,
    *LIBRARY,
    *OUTSIDE,
    *SECOND_OPERATIONS,
    *SERVICES,
    *SWEEP,
    *VERSIONS,
    *WAYS,
    *WEB_UI,
)
