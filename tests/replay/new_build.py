"""`worker.py` with an incompatible change to its workflows: a new build that runs beside an old one."""

import worker
from composition import workers
from runtime.commandline import run
from workflows.sweep import SweepWorkflow

from .incompatible import SleepsFirst

if __name__ == "__main__":
    workers.WORKFLOWS[:] = [SleepsFirst, SweepWorkflow]
    run(worker.app)
