"""The schedule that runs the sweep."""

from contextlib import suppress
from datetime import timedelta

from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleIntervalSpec,
    ScheduleSpec,
)

from contracts.ids import SCHEDULE_ID, SWEEP_WORKFLOW
from contracts.order import WORKFLOWS_QUEUE
from runtime import summaries

EVERY = timedelta(minutes=5)
"""An order that was left behind holds stock and money for at most about this long."""


async def keep_sweeping(client: Client) -> None:
    """Have Temporal run the sweep from now on. A schedule that an operator has changed or paused stays as it is."""
    action = ScheduleActionStartWorkflow(SWEEP_WORKFLOW, id="sweep", task_queue=WORKFLOWS_QUEUE, **summaries.of_sweep())
    schedule = Schedule(action=action, spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=EVERY)]))
    with suppress(ScheduleAlreadyRunningError):
        await client.create_schedule(SCHEDULE_ID, schedule)
