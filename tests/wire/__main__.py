"""Records the messages: `python -m tests.wire`. A change that breaks running builds is refused without `--anew`."""

import sys

from . import record

problems = [] if "--anew" in sys.argv else record.breaks(record.recorded(), record.record(), record.requests())
if problems:
    sys.exit("\n".join(problems))
record.write()
