"""A harness that tests a saga of yours in every fault, each generated from its own calls.

    trip = SagaUnderTest(workflow=TripWorkflow.run, input=Trip, activities=services.activities, state=services.snapshot)
    report = await check(trip)                    # or, with pytest: @every_fault(trip)

It runs the saga once without a fault, learns its calls and its undos, and then runs it again for each call and each
fault, on a server that skips time. It needs no change to the saga, which need not be built on `temporal_saga.Saga`.

| module | holds |
|---|---|
| `subject` | what the user gives: workflow, input, activities, state |
| `server` | the server that skips time |
| `faults` | the faults, and a case |
| `attempts` | an interceptor that sees each attempt, and what it changes |
| `injection` | how each fault is put into a call |
| `running` | one case under way |
| `history` | the order of the calls, and the timers, from a workflow's history |
| `changes` | what changed between two snapshots of the state |
| `learning` | the calls and undos of a saga, and the cases made from them |
| `verdict` | what is wrong in a case, in words |
| `checking`, `report` | a whole check, without pytest |
| `plugin` | the same with pytest |

Only `plugin` imports pytest.
"""

from temporal_saga.testing.checking import check
from temporal_saga.testing.decorator import every_fault
from temporal_saga.testing.faults import Case, Fault
from temporal_saga.testing.learning import Unusable
from temporal_saga.testing.report import Report
from temporal_saga.testing.server import release_clock, start_server
from temporal_saga.testing.subject import SagaUnderTest, Subject
from temporal_saga.testing.verdict import Verdict

__all__ = [
    "Case",
    "Fault",
    "Report",
    "SagaUnderTest",
    "Subject",
    "Unusable",
    "Verdict",
    "check",
    "every_fault",
    "release_clock",
    "start_server",
]
