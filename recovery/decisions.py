"""The operators' decisions, copied from the histories to the order service, which keeps them for as long as the order.

Temporal forgets a closed workflow after its retention. A decision is copied by the first sweep that finds the order
service: whoever decides does not wait for it, and may be repairing that very service.
"""

from collections.abc import Sequence

from temporalio.client import Client

from client import handles
from client.decisions import DECIDED, decided_in
from client.handles import Run
from contracts import order
from contracts.order import ReadDecisions, RecordDecisions
from recovery.tolerance import Round, parts
from runtime.execute import execute
from temporal_saga.visibility import SAGA_DECIDED_AT

_READ_AT_ONCE = 100
"""Workflows that `order.read_decisions` takes at a time."""
_RECORDED_AT_ONCE = 500
"""Decisions that `order.record_decisions` takes at a time."""


async def keep_decisions(client: Client, round_: Round) -> None:
    """Copy the decisions that are not on record, of all workflows that Temporal knows."""

    async def keep(decided: Run) -> None:
        for some in parts(await decided_in(client, decided), _RECORDED_AT_ONCE):
            await execute(client, order.record_decisions, RecordDecisions(decisions=tuple(some)))

    decided = [run async for run in handles.listed(client, DECIDED)]
    for some in parts(decided, _READ_AT_ONCE):
        fresh = await round_.tried(order.read_decisions.name, _not_on_record(client, some))
        if fresh is None:  # the order service is away: the next sweep comes back to it
            return
        await round_.each(fresh, lambda run: run.id, keep)


async def _not_on_record(client: Client, decided: Sequence[Run]) -> list[Run]:
    """Those that have decided later than the newest decision on record: the update is accepted after it has."""
    question = ReadDecisions(workflow_ids=tuple({run.id for run in decided}))
    recorded = (await execute(client, order.read_decisions, question)).decisions
    newest = {taken.workflow_id: taken.at for taken in sorted(recorded, key=lambda taken: taken.at)}
    return [run for run in decided if run.id not in newest or newest[run.id] < run.attributes[SAGA_DECIDED_AT]]
