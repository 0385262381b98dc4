"""What must hold for transactions given as data: one that failed holds nothing, and none is left without an end.

What a confirmed one holds is its document's business.
"""

from __future__ import annotations

from collections import defaultdict

from temporalio.client import Client, WorkflowExecutionStatus

from audit.crossing import NOTHING, Traces
from audit.report import Check, Violation
from client import handles
from contracts.ids import TRANSACTION_WORKFLOW, is_orders, transaction_workflow_id, whole_of
from contracts.order import OrderState

_NOT_CONFIRMED = (
    f"WorkflowType = '{TRANSACTION_WORKFLOW}' AND ExecutionStatus IN ('Failed', 'Terminated', 'TimedOut', 'Canceled')"
)


async def violations(client: Client, traces: Traces) -> list[Violation]:
    holding = holding_of(traces)
    if not holding:
        return []
    closed = {run.id async for run in handles.listed(client, _NOT_CONFIRMED)}
    found = []
    for transaction_id in sorted(holding):
        its_workflow = transaction_workflow_id(transaction_id)
        status = await handles.status_of(client, its_workflow) if its_workflow in closed else None
        if status in (None, WorkflowExecutionStatus.RUNNING, WorkflowExecutionStatus.COMPLETED):
            continue  # a later run may have confirmed what an earlier one left
        failed = status is WorkflowExecutionStatus.FAILED
        again = "its workflow was closed without an end: `starter.py sweep` resumes it"
        figures: dict[str, int | str | None] = {
            name: ", ".join(sorted(s)) for name, s in holding[transaction_id].items()
        }
        found.append(
            Violation(
                invariant=Check.ALL_OR_NOTHING if failed else Check.ORPHANS,
                subject=its_workflow,
                message="a transaction that failed must hold nothing" if failed else again,
                figures=figures,
            )
        )
    return found


def holding_of(traces: Traces) -> dict[str, dict[str, set[str]]]:
    """What is held, by transaction and service; `t/part` belongs to the transaction `t`."""
    holding: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for service, states in traces.by_service.items():
        for ours, found in states.items():
            if not is_orders(ours) and found - NOTHING[service]:
                holding[whole_of(ours)][service] |= found - NOTHING[service]
    for ours, state in traces.orders.items():
        if not is_orders(ours) and state is not OrderState.CANCELLED:
            holding[whole_of(ours)]["order"].add(state)
    return holding
