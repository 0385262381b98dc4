"""The calls that a saga is still going to make, by its outline and its log."""

from collections.abc import Iterator, Sequence

from pydantic import BaseModel
from temporalio.client import Client

from client import handles
from client.engines.engine import OrderStatus
from contracts.errors import Code
from contracts.ids import Kind, order_id_of
from contracts.outline import OUTLINE, Outline, OutlinedCall
from temporal_saga import CallKind, Entry, State, Status, TransactionLog
from temporal_saga.journal import unique_step

_NOT_THE_SAGAS_OWN = (Code.PAUSED, Code.CLOSED_FROM_OUTSIDE)
"""Errors in a log that say why it does not go on, not why it is rolled back."""


class StepToCome(BaseModel):
    """A call that is not made yet, named as the log will name it. Those of one `stage` will run side by side."""

    step: str
    service: str
    kind: CallKind
    name: str | None = None
    stage: int


async def outline_of(client: Client, status: OrderStatus) -> Outline | None:
    """The outline of the saga of an order or a transaction; `None` if its workflow cannot tell it now, or never."""
    coordinator = status.coordinator
    about = [order_id_of(status.log.transaction_id)] if coordinator.kind is Kind.BATCH else []
    handle = client.get_workflow_handle(coordinator.workflow_id)
    try:
        outline: Outline | None = await handles.query(client, handle, OUTLINE, *about, result_type=Outline)
    except handles.CANNOT_SAY:  # also of a build that has none
        return None
    return outline


def to_come(status: OrderStatus, outline: Outline) -> tuple[StepToCome, ...]:
    """The steps that will follow those in the log, in their order; none of a saga that has ended."""
    log = status.log
    if log.state.is_end or status.closed:
        return ()
    by_events = status.coordinator.kind is Kind.PARTICIPANT
    stages = _backward(log, outline, by_events=by_events) if _goes_back(log) else outline.stages
    made = {(entry.step, entry.kind) for entry in log.steps}
    if by_events:  # the cancellation of an order is the pivot there, and the undo of its creation here
        made |= {(entry.step, CallKind.UNDO) for entry in log.steps}
    return tuple(step for step in _named(stages) if (step.step, step.kind) not in made)


def _goes_back(log: TransactionLog) -> bool:
    own_error = log.error is not None and log.error.code not in _NOT_THE_SAGAS_OWN
    return own_error or log.state is State.COMPENSATING or any(entry.kind is CallKind.UNDO for entry in log.steps)


def _backward(log: TransactionLog, outline: Outline, *, by_events: bool) -> Sequence[Sequence[OutlinedCall]]:
    """The rollback: the undos of the steps that may have been done, in reverse, and the call that ends it.

    Without an orchestrator each service undoes its step, whether it was made or not.
    """
    begun = [_begun(log, stage) for stage in outline.stages]
    undone = list(outline.stages) if by_events else [[c for c in stage if _may_be_done(log, c)] for stage in begun]
    stages = [
        [OutlinedCall(operation=call.undo, kind=CallKind.UNDO, name=call.name) for call in stage if call.undo]
        for stage in reversed(undone)
    ]
    last, reached = outline.rollback_call, max((at for at, stage in enumerate(begun) if stage), default=-1)
    if by_events:
        is_told = last is None or any(last.operation == call.operation for stage in stages for call in stage)
    else:
        is_told = last is None or reached < outline.rollback_call_from
    if last is not None and not is_told:
        stages.append([last])
    return stages


def _begun(log: TransactionLog, stage: Sequence[OutlinedCall]) -> list[OutlinedCall]:
    return [call for call in stage if _entry_of(log, call) is not None]


def _may_be_done(log: TransactionLog, call: OutlinedCall) -> bool:
    entry = _entry_of(log, call)
    return entry is not None and entry.status is not Status.REFUSED


def _entry_of(log: TransactionLog, call: OutlinedCall) -> Entry | None:
    for entry in log.steps:
        if entry.operation == call.operation and entry.kind is call.kind and entry.name == call.name:
            return entry
    return None


def _named(stages: Sequence[Sequence[OutlinedCall]]) -> Iterator[StepToCome]:
    """The calls under the names that the log gives them."""
    taken = set[str]()
    for number, stage in enumerate(stages):
        for call in stage:
            step = unique_step(call.operation, call.name, taken)
            taken.add(step)
            service = call.operation.partition(".")[0]
            yield StepToCome(step=step, service=service, kind=call.kind, name=call.name, stage=number)
