"""`worker.py` after an incompatible change to its workflows: the new build that runs beside an old one."""

from __future__ import annotations

import worker
from runtime.commandline import run

from .incompatible import SleepsFirst

if __name__ == "__main__":
    worker.WORKFLOWS[:] = [SleepsFirst, worker.SweepWorkflow]
    run(worker.app)
