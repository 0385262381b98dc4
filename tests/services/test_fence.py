"""The table in `activities.fence`, row by row, for every operation that any service declares."""

from typing import Any

from activities.catalogue import SERVICES
from activities.fence import digest
from contracts import notification
from contracts.catalogue import OPERATIONS
from contracts.erasure import ERASE, FIND
from contracts.errors import Code
from contracts.payment import AuthorizePayment
from contracts.retention import LIST_OLD, RETIRE
from temporal_saga.fence.rules import OperationState

from .conftest import OpenHarness, on_sqlite
from .samples import SAMPLES, Refused, Sample, missing_sample, refusal_of, sample_of
from .service_harness import (
    FORWARDS,
    HANDLED,
    UNDOS,
    Call,
    Operations,
    ServiceHarness,
    assert_invariants,
    each_as,
    every_forward,
    every_undo,
    missing_handler,
)

_DECLARED = [
    *OPERATIONS.values(),
    *(each for operations in (LIST_OLD, RETIRE, FIND, ERASE) for each in operations.values()),
]
_SERVED = [
    *((name, handler.operation.name) for name, service in SERVICES.items() for handler in service.handlers),
    *((name, query.operation.name) for name, service in SERVICES.items() for query in service.queries),
]
_NEVER_REFUSE = {name for name, sample in SAMPLES.items() if sample.refused is None}
"""The operations that never say no."""
ACTS_ON_NOTHING = notification.send_cancellation
"""The documented exception: the customer is notified of a cancellation even if nothing was sent before."""

every_refusable_forward = each_as("forward", [each for each in FORWARDS if each.step not in _NEVER_REFUSE])
every_undo_of_a_refusable = each_as("undo", [each for each in UNDOS if each.step not in _NEVER_REFUSE])


@every_forward
def test_every_operation_has_a_sample(forward: Operations) -> None:
    assert forward.name in SAMPLES, missing_sample(forward)


def test_no_sample_is_left_over() -> None:
    assert SAMPLES.keys() - {operation.step for operation in HANDLED} == set()


@each_as("declared", _DECLARED)
def test_every_declared_operation_is_served_exactly_once_by_the_service_of_its_queue(declared: Operations) -> None:
    assert declared.name in [name for _, name in _SERVED], missing_handler(declared)
    assert [service for service, name in _SERVED if name == declared.name] == [declared.queue]


def test_no_service_serves_what_is_not_declared() -> None:
    assert {name for _, name in _SERVED} - {operation.name for operation in _DECLARED} == set()


def test_a_service_is_known_by_the_queue_and_the_prefix_of_its_operations() -> None:
    assert all(operation.service == operation.queue for operation in OPERATIONS.values())


async def _ready(open_harness: OpenHarness, operation: Operations) -> tuple[ServiceHarness, Sample]:
    """A harness on which everything before `operation` is done."""
    harness, sample = await open_harness(operation.queue), sample_of(operation)
    await harness.accept(*sample.before)
    return harness, sample


@every_forward
async def test_a_forward_that_finds_nothing_acts_once(open_harness: OpenHarness, forward: Operations) -> None:
    harness, sample = await _ready(open_harness, forward)
    before, effects = await harness.business(), await harness.effects(sample.request.transaction_id)
    reply = await harness.deliver(forward, sample.request)
    assert isinstance(reply, forward.reply)
    assert await harness.business() != before
    assert await harness.effects(sample.request.transaction_id) == [*effects, forward.name]
    assert await harness.recorded_state(forward, sample.request) is OperationState.DONE
    await assert_invariants(harness)


@every_forward
async def test_a_duplicate_forward_gets_the_first_reply_and_acts_not(
    open_harness: OpenHarness, forward: Operations
) -> None:
    harness, sample = await _ready(open_harness, forward)
    first = await harness.deliver(forward, sample.request)
    after_first = await harness.business()
    assert await harness.deliver(forward, sample.request) == first
    assert await harness.business() == after_first
    assert (await harness.effects(sample.request.transaction_id)).count(forward.name) == 1


@every_forward
@on_sqlite
async def test_another_request_under_the_same_key_is_a_conflict(open_harness: OpenHarness, forward: Operations) -> None:
    harness, sample = await _ready(open_harness, forward)
    first = await harness.deliver(forward, sample.request)
    after_first = await harness.business()
    code, _ = await harness.refuse(forward, sample.other)
    assert code == Code.IDEMPOTENCY_CONFLICT
    assert await harness.business() == after_first
    assert await harness.deliver(forward, sample.request) == first


def _is_kept(refused: Refused) -> bool:
    """Whether the refusal is kept; NOTHING_TO_ACT_ON is not, because the earlier operation may still arrive."""
    return refused.code is not Code.NOTHING_TO_ACT_ON


@every_refusable_forward
async def test_a_refusal_changes_nothing_and_is_kept_after_its_reason_is_gone(
    open_harness: OpenHarness, forward: Operations
) -> None:
    harness, refused = await open_harness(forward.queue), refusal_of(forward)
    await harness.accept(*refused.before)
    before = await harness.business()
    first = await harness.refuse(forward, refused.request)
    assert first[0] == refused.code
    assert await harness.business() == before
    assert await harness.recorded_state(forward, refused.request) is (
        OperationState.REFUSED if _is_kept(refused) else None
    )
    conflict = Code.IDEMPOTENCY_CONFLICT if _is_kept(refused) else refused.code
    assert (await harness.refuse(forward, sample_of(forward).other))[0] == conflict
    await harness.accept(*refused.remedy)
    cured = await harness.business()
    if not _is_kept(refused):
        await harness.accept(Call(forward, refused.request))
        assert forward.name in await harness.effects(refused.request.transaction_id)
        return
    assert await harness.refuse(forward, refused.request) == first
    assert await harness.business() == cured
    assert forward.name not in await harness.effects(refused.request.transaction_id)


@every_undo
async def test_a_second_undo_gets_the_first_reply_and_changes_nothing(
    open_harness: OpenHarness, undo: Operations
) -> None:
    harness, sample = await _ready(open_harness, undo)
    await harness.accept(Call(sample.operation, sample.request))
    first = await harness.deliver(undo, sample.request)
    assert isinstance(first, undo.reply)
    assert await harness.recorded_state(undo, sample.request) is OperationState.UNDONE
    undone = await harness.business()
    assert await harness.deliver(undo, sample.request) == first
    assert await harness.business() == undone
    assert (await harness.effects(sample.request.transaction_id)).count(undo.name) == 1


@every_undo
async def test_an_undo_of_nothing_leaves_a_tombstone_and_changes_nothing(
    open_harness: OpenHarness, undo: Operations
) -> None:
    harness, sample = await _ready(open_harness, undo)
    before = await harness.business()
    first = await harness.deliver(undo, sample.request)
    assert isinstance(first, undo.reply)
    assert await harness.deliver(undo, sample.request) == first
    assert await harness.recorded_state(undo, sample.request) is OperationState.TOMBSTONE
    assert (await harness.business() != before) is (undo is ACTS_ON_NOTHING)
    assert (await harness.effects(sample.request.transaction_id)).count(undo.name) == (undo is ACTS_ON_NOTHING)


@every_undo_of_a_refusable
@on_sqlite
async def test_an_undo_of_a_refusal_leaves_a_tombstone_and_changes_nothing(
    open_harness: OpenHarness, undo: Operations
) -> None:
    harness, sample = await open_harness(undo.queue), sample_of(undo)
    refused = refusal_of(undo)
    await harness.accept(*refused.before)
    await harness.refuse(sample.operation, refused.request)
    await harness.accept(*refused.remedy)
    before = await harness.business()
    await harness.accept(Call(undo, refused.request))
    assert await harness.recorded_state(undo, refused.request) is OperationState.TOMBSTONE
    assert (await harness.refuse(sample.operation, refused.request))[0] == Code.STEP_UNDONE
    assert (await harness.business() != before) is (undo is ACTS_ON_NOTHING)


@every_undo
@on_sqlite
async def test_an_undo_with_another_request_than_its_forward_is_a_conflict(
    open_harness: OpenHarness, undo: Operations
) -> None:
    harness, sample = await _ready(open_harness, undo)
    await harness.accept(Call(sample.operation, sample.request))
    done = await harness.business()
    assert (await harness.refuse(undo, sample.other))[0] == Code.IDEMPOTENCY_CONFLICT
    assert await harness.business() == done
    assert await harness.recorded_state(undo, sample.request) is OperationState.DONE
    await harness.accept(Call(undo, sample.request))


@every_undo
@on_sqlite
async def test_a_forward_after_its_undo_is_refused(open_harness: OpenHarness, undo: Operations) -> None:
    harness, sample = await _ready(open_harness, undo)
    await harness.accept(Call(sample.operation, sample.request), Call(undo, sample.request))
    undone = await harness.business()
    assert (await harness.refuse(sample.operation, sample.request))[0] == Code.STEP_UNDONE
    assert await harness.business() == undone


@every_undo
@on_sqlite
async def test_a_late_forward_after_a_tombstone_is_refused(open_harness: OpenHarness, undo: Operations) -> None:
    harness, sample = await _ready(open_harness, undo)
    await harness.accept(Call(undo, sample.request))
    left = await harness.business()
    assert (await harness.refuse(sample.operation, sample.request))[0] == Code.STEP_UNDONE
    assert (await harness.refuse(sample.operation, sample.other))[0] == Code.IDEMPOTENCY_CONFLICT
    assert await harness.business() == left
    assert sample.operation.name not in await harness.effects(sample.request.transaction_id)


@every_undo
@on_sqlite
async def test_duplicates_within_one_batch_take_effect_once(open_harness: OpenHarness, undo: Operations) -> None:
    harness, sample = await _ready(open_harness, undo)
    first, second = await harness.deliver_all(sample.operation, [sample.request, sample.request])
    assert first == second
    assert isinstance(first, sample.operation.reply)
    first, second = await harness.deliver_all(undo, [sample.request, sample.request])
    assert first == second
    effects = await harness.effects(sample.request.transaction_id)
    assert effects[-2:] == [sample.operation.name, undo.name]
    await assert_invariants(harness)


def test_a_field_added_with_a_default_leaves_the_digest_of_older_requests() -> None:
    class Older(AuthorizePayment):
        pass

    class Newer(AuthorizePayment):
        gift_wrap: bool = False

    fields: dict[str, Any] = {"transaction_id": "t", "order_id": "o", "customer_id": "c"}
    fields |= {"amount_minor": 1, "currency": "EUR"}
    assert digest(Older(**fields)) == digest(Newer(**fields))
    assert digest(Newer(**fields)) != digest(Newer(**fields, gift_wrap=True))
