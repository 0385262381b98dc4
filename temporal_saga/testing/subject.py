"""What the user hands to the harness: a saga with all that it needs to run."""

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeAlias

from temporalio.client import WorkflowHandle
from temporalio.converter import DataConverter
from temporalio.worker import Interceptor, Plugin, UnsandboxedWorkflowRunner, WorkflowRunner
from temporalio.workflow import _Definition

from temporal_saga.journal import State
from temporal_saga.testing.changes import Changes, flat
from temporal_saga.workflow import CancellableSagaWorkflow

Cancel: TypeAlias = Callable[[WorkflowHandle[Any, Any]], Awaitable[Any]]


async def _cancel_saga(handle: WorkflowHandle[Any, Any]) -> None:
    await handle.execute_update("cancel_saga", "cancelled by the test")


@dataclass(frozen=True, kw_only=True)
class SagaUnderTest:
    """A saga, its services, and a view of their state.

    `workflow` is the run method of a workflow: one on `temporal_saga.Saga`, or a plain one with compensations of its
    own. `input` is its argument, or a function that makes one from an id. The id is new in each case and is the
    workflow's id too, unless `workflow_id` makes another from it. `activities` are the real ones, or fakes with real
    state. All of them are served on the queue of the case, whichever queue the workflow names.

    `state` returns all business state: mappings, sets, lists and numbers, nested as you like, by service at best. It
    may be a coroutine function. Leave out what a rollback may leave behind (a record that is marked cancelled, a
    tombstone of a fence) and what differs in each run (times, random numbers). The id of the case may be in it.
    """

    workflow: Callable[..., Awaitable[Any]]
    input: Any | Callable[[str], Any] = None
    workflow_id: Callable[[str], str] = str
    """Makes the id of the workflow from that of the case. By default the two are the same."""
    activities: Sequence[Callable[..., Any]]
    state: Callable[[], Any]
    is_confirmed: Callable[[Any], bool] | None = None
    """Whether a result of the workflow says that the saga is confirmed. By default every result does, except a
    `TransactionLog` of another state. A workflow that fails, or is cancelled, says that it is rolled back."""
    cancel: Cancel | None = None
    """How the business cancels the saga: by default with the update `cancel_saga`, if it is a
    `CancellableSagaWorkflow`. Temporal's own cancellation comes in other cases."""
    optional: frozenset[str] = frozenset()
    """Activities that may fail without a rollback, and whose effect a rollback may leave: notifications, for example.
    `Saga.best_effort` and `Saga.on_rollback` calls are known without being listed."""
    longest: timedelta = timedelta(days=7)
    """Limit on the virtual time of a case. A saga that has not ended then is left hanging."""
    data_converter: DataConverter | None = None
    interceptors: Sequence[Interceptor] = ()
    """Interceptors of your workers. They run outside the harness's own."""
    plugins: Sequence[Plugin] = ()
    """Plugins of your workers. The harness adds `SagaPlugin`."""
    workflow_runner: WorkflowRunner = field(default_factory=UnsandboxedWorkflowRunner)
    """The sandbox would import the test module again for each case."""
    other_workflows: Sequence[type] = ()
    """Child workflows."""
    activity_executor: Executor | None = None
    """Needed only for activities that want one of their own, a process pool for example."""

    @property
    def definition(self) -> _Definition:
        return _Definition.must_from_run_fn(self.workflow)

    @property
    def business_cancel(self) -> Cancel | None:
        if self.cancel is None and issubclass(self.definition.cls, CancellableSagaWorkflow):
            return _cancel_saga
        return self.cancel

    def arguments(self, case_id: str) -> list[Any]:
        made = self.input(case_id) if callable(self.input) else self.input
        return [] if made is None else [made]

    async def snapshot(self, case_id: str) -> Changes:
        """The state as it is now. It is read at once: `state` may return what the services go on changing."""
        found = self.state()
        return flat(await found if inspect.isawaitable(found) else found, case_id)

    def says_confirmed(self, result: Any) -> bool:
        if self.is_confirmed is not None:
            return self.is_confirmed(result)
        state = result.get("state") if isinstance(result, Mapping) else getattr(result, "state", None)
        return state not in set(State) or State(state).is_confirmed


Subject: TypeAlias = SagaUnderTest | Callable[[], SagaUnderTest | Awaitable[SagaUnderTest]]
"""A saga with services that all cases share, or a function that makes new ones for each case."""


async def fresh(subject: Subject) -> SagaUnderTest:
    if isinstance(subject, SagaUnderTest):
        return subject
    made = subject()
    return await made if inspect.isawaitable(made) else made
