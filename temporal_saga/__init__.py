"""The saga pattern on Temporal, and nothing about any business.

A saga is a list of local transactions that either all take effect or are all undone (Garcia-Molina and Salem, 1987).
Write the process with `Saga`, declare what it calls as `Operation`, read what happened from its `TransactionLog`:

    async with Saga("t-1", deadline=timedelta(seconds=60)) as saga:
        await saga.step(flight.book, trip, undo=flight.cancel)
        await saga.pivot(trip.confirm, trip)               # from here on only forward
        await saga.finish(flight.ticket, trip)

| module | holds |
|---|---|
| `operation` | the typed declaration of what a service does |
| `policy` | timeouts and retries, each number with its reason |
| `outcome` | the three outcomes of a call: done, refused, unknown; and the answer that it is not over yet |
| `journal` | the transaction log, and what is published from it |
| `calls` | one call: an activity with its retries, or rounds until it is done |
| `announcer` | what a service is told of a saga: parked, recovered, ended |
| `visibility` | the search attributes, and what happens where a namespace lacks them |
| `plugin` | what workers of sagas need, as one plugin |
| `failover` | why a worker makes no local calls for a saga that another worker began |
| `earlier` | what another execution of the same saga may have done |
| `reply` | reading of a service's reply by the workflow |
| `waiting` | waits that Temporal's cancellation of the workflow does not end |
| `desk` | the parked calls, and what an operator decides about them |
| `progress` | the phase of a saga, and what stops it before its pivot: deadline, cancel, failure |
| `undo` | the stack of undos, and the rollback that runs them |
| `group` | calls that run side by side |
| `kernel` | the saga: step, parallel, wait_for, undo_to, pivot, finish, best_effort, on_rollback, cancel |
| `plan` | what a saga would do, as data |
| `transaction` | a list of steps, run on the saga |
| `workflow` | the queries and updates of a workflow that runs a saga |
| `fence` | why an operation of a service takes effect at most once: the rules, and a fence over SQL |
| `testing` | a harness that runs a saga of yours in every fault; not imported here |

The package imports only the standard library and temporalio, so another project can use a copy of it as it is. The
exceptions are `fence.sql`, which needs SQLAlchemy, and `testing.plugin`, which needs pytest. No other module imports
them.
"""

from typing import TYPE_CHECKING, Any

from temporal_saga.announcer import Announcement, AnnouncementKind, Announcements, ParkedStep
from temporal_saga.desk import Decided, Desk, DeskRecord, DeskRefused, Fix, Parked, Remedy, Retry, Skip
from temporal_saga.journal import (
    CallKind,
    Entry,
    Failure,
    MovedDeadline,
    MoveDeadline,
    Skipped,
    State,
    Status,
    TransactionLog,
)
from temporal_saga.kernel import Saga
from temporal_saga.operation import Operation
from temporal_saga.outcome import STILL_WORKING, Refusal, StillWorking
from temporal_saga.plan import Plan, PlannedCall, Stage
from temporal_saga.policy import POLICIES, Policies, Policy, Rounds
from temporal_saga.progress import (
    DEADLINE_EXCEEDED,
    WAIT_TIMEOUT,
    CancelRefused,
    DeadlineRefused,
    StepFailed,
    deadline_exceeded,
)
from temporal_saga.transaction import Step, run_in_order
from temporal_saga.undo import Savepoint
from temporal_saga.visibility import SEARCH_ATTRIBUTES, missing_search_attributes, register_search_attributes
from temporal_saga.waiting import run_to_completion
from temporal_saga.workflow import CANCEL_REFUSED, DEADLINE_REFUSED, DESK_REFUSED, CancellableSagaWorkflow, SagaWorkflow

if TYPE_CHECKING:
    from temporal_saga.plugin import SagaPlugin

__all__ = [
    "CANCEL_REFUSED",
    "DEADLINE_EXCEEDED",
    "DEADLINE_REFUSED",
    "DESK_REFUSED",
    "POLICIES",
    "SEARCH_ATTRIBUTES",
    "STILL_WORKING",
    "WAIT_TIMEOUT",
    "Announcement",
    "AnnouncementKind",
    "Announcements",
    "CallKind",
    "CancelRefused",
    "CancellableSagaWorkflow",
    "DeadlineRefused",
    "Decided",
    "Desk",
    "DeskRecord",
    "DeskRefused",
    "Entry",
    "Failure",
    "Fix",
    "MoveDeadline",
    "MovedDeadline",
    "Operation",
    "Parked",
    "ParkedStep",
    "Plan",
    "PlannedCall",
    "Policies",
    "Policy",
    "Refusal",
    "Remedy",
    "Retry",
    "Rounds",
    "Saga",
    "SagaPlugin",
    "SagaWorkflow",
    "Savepoint",
    "Skip",
    "Skipped",
    "Stage",
    "State",
    "Status",
    "Step",
    "StepFailed",
    "StillWorking",
    "TransactionLog",
    "deadline_exceeded",
    "missing_search_attributes",
    "register_search_attributes",
    "run_in_order",
    "run_to_completion",
]


def __getattr__(name: str) -> Any:
    """Import the plugin where it is used: it needs `temporalio.worker`, which a client of sagas does without."""
    if name != "SagaPlugin":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from temporal_saga.plugin import SagaPlugin  # noqa: PLC0415 — see above

    return SagaPlugin
