"""The table in `activities.fence`, row by row, for every operation that any service declares."""

from __future__ import annotations

from typing import Any

import pytest

from activities.catalogue import SERVICES
from activities.fence import PassageState, digest
from contracts import notification
from contracts.catalogue import OPERATIONS
from contracts.errors import Code
from contracts.payment import AuthorizePayment

from .bench import Bench, Call, Operations, assert_invariants
from .conftest import OpenBench
from .samples import SAMPLES, Refused, Sample

_HANDLED = [handler.operation for service in SERVICES.values() for handler in service.handlers]
_FORWARDS = [operation for operation in _HANDLED if operation.undoes is None]
_UNDOS = [operation for operation in _HANDLED if operation.undoes is not None]
TELLS_ANYWAY = notification.send_cancellation
"""The documented exception: a customer who was told nothing is told of the cancellation."""

every_forward = pytest.mark.parametrize("forward", _FORWARDS, ids=lambda operation: operation.name)
every_undo = pytest.mark.parametrize("undo", _UNDOS, ids=lambda operation: operation.name)


def _sample(operation: Operations) -> Sample:
    return SAMPLES[operation.step]


def test_every_operation_has_a_sample_and_no_sample_is_left_over() -> None:
    assert {operation.step for operation in _HANDLED} == SAMPLES.keys()


def test_every_declared_operation_is_served_exactly_once_by_the_service_of_its_queue() -> None:
    served = [
        (name, operation.name)
        for name, service in SERVICES.items()
        for operation in (
            *(handler.operation for handler in service.handlers),
            *(query.operation for query in service.queries),
        )
    ]
    assert sorted(served) == sorted((declared.queue, declared.name) for declared in OPERATIONS.values())


def test_a_service_is_known_by_the_queue_and_the_prefix_of_its_operations() -> None:
    assert all(operation.service == operation.queue for operation in OPERATIONS.values())


async def _ready(open_bench: OpenBench, operation: Operations) -> tuple[Bench, Sample]:
    """A bench on which everything was done that comes before `operation`."""
    bench, sample = await open_bench(operation.queue), _sample(operation)
    await bench.accept(*sample.before)
    return bench, sample


@every_forward
async def test_a_forward_that_finds_nothing_acts_once(open_bench: OpenBench, forward: Operations) -> None:
    bench, sample = await _ready(open_bench, forward)
    before, effects = await bench.business(), await bench.effects(sample.request.transaction_id)
    reply = await bench.deliver(forward, sample.request)
    assert isinstance(reply, forward.reply)
    assert await bench.business() != before
    assert await bench.effects(sample.request.transaction_id) == [*effects, forward.name]
    assert await bench.passage(forward, sample.request) is PassageState.DONE
    await assert_invariants(bench)


@every_forward
async def test_a_duplicate_forward_gets_the_first_reply_and_acts_not(
    open_bench: OpenBench, forward: Operations
) -> None:
    bench, sample = await _ready(open_bench, forward)
    first = await bench.deliver(forward, sample.request)
    after_first = await bench.business()
    assert await bench.deliver(forward, sample.request) == first
    assert await bench.business() == after_first
    assert (await bench.effects(sample.request.transaction_id)).count(forward.name) == 1


@every_forward
async def test_another_request_under_the_same_key_is_a_conflict(open_bench: OpenBench, forward: Operations) -> None:
    bench, sample = await _ready(open_bench, forward)
    first = await bench.deliver(forward, sample.request)
    after_first = await bench.business()
    code, _ = await bench.refuse(forward, sample.other)
    assert code == Code.IDEMPOTENCY_CONFLICT
    assert await bench.business() == after_first
    assert await bench.deliver(forward, sample.request) == first


def _is_kept(refused: Refused) -> bool:
    """All but one: what is not there yet may come."""
    return refused.code is not Code.NOTHING_TO_ACT_ON


@every_forward
async def test_a_refusal_changes_nothing_and_is_kept_after_its_reason_is_gone(
    open_bench: OpenBench, forward: Operations
) -> None:
    bench, refused = await open_bench(forward.queue), _sample(forward).refused
    await bench.accept(*refused.before)
    before = await bench.business()
    first = await bench.refuse(forward, refused.request)
    assert first[0] == refused.code
    assert await bench.business() == before
    assert await bench.passage(forward, refused.request) is (PassageState.REFUSED if _is_kept(refused) else None)
    await bench.accept(*refused.cure)
    cured = await bench.business()
    if not _is_kept(refused):
        await bench.accept(Call(forward, refused.request))
        assert forward.name in await bench.effects(refused.request.transaction_id)
        return
    assert await bench.refuse(forward, refused.request) == first
    assert await bench.business() == cured
    assert forward.name not in await bench.effects(refused.request.transaction_id)


@every_forward
async def test_another_request_after_a_kept_refusal_is_a_conflict(open_bench: OpenBench, forward: Operations) -> None:
    bench, sample = await open_bench(forward.queue), _sample(forward)
    await bench.accept(*sample.refused.before)
    first = await bench.refuse(forward, sample.refused.request)
    conflict = Code.IDEMPOTENCY_CONFLICT if _is_kept(sample.refused) else first[0]
    assert (await bench.refuse(forward, sample.other))[0] == conflict


@every_undo
async def test_an_undo_undoes_its_forward(open_bench: OpenBench, undo: Operations) -> None:
    bench, sample = await _ready(open_bench, undo)
    earlier = await bench.effects(sample.request.transaction_id)
    await bench.accept(Call(sample.operation, sample.request))
    reply = await bench.deliver(undo, sample.request)
    assert isinstance(reply, undo.reply)
    assert await bench.passage(undo, sample.request) is PassageState.UNDONE
    assert await bench.effects(sample.request.transaction_id) == [*earlier, sample.operation.name, undo.name]
    await assert_invariants(bench)


@every_undo
async def test_a_second_undo_gets_the_first_reply_and_changes_nothing(open_bench: OpenBench, undo: Operations) -> None:
    bench, sample = await _ready(open_bench, undo)
    await bench.accept(Call(sample.operation, sample.request))
    first = await bench.deliver(undo, sample.request)
    undone = await bench.business()
    assert await bench.deliver(undo, sample.request) == first
    assert await bench.business() == undone
    assert (await bench.effects(sample.request.transaction_id)).count(undo.name) == 1


@every_undo
async def test_an_undo_of_nothing_leaves_a_tombstone_and_changes_nothing(
    open_bench: OpenBench, undo: Operations
) -> None:
    bench, sample = await _ready(open_bench, undo)
    before = await bench.business()
    first = await bench.deliver(undo, sample.request)
    assert isinstance(first, undo.reply)
    assert await bench.deliver(undo, sample.request) == first
    assert await bench.passage(undo, sample.request) is PassageState.TOMBSTONE
    assert (await bench.business() != before) is (undo is TELLS_ANYWAY)
    assert (await bench.effects(sample.request.transaction_id)).count(undo.name) == (undo is TELLS_ANYWAY)


@every_undo
async def test_an_undo_of_a_refusal_leaves_a_tombstone_and_changes_nothing(
    open_bench: OpenBench, undo: Operations
) -> None:
    bench, sample = await open_bench(undo.queue), _sample(undo)
    refused = sample.refused
    await bench.accept(*refused.before)
    await bench.refuse(sample.operation, refused.request)
    await bench.accept(*refused.cure)
    before = await bench.business()
    await bench.accept(Call(undo, refused.request))
    assert await bench.passage(undo, refused.request) is PassageState.TOMBSTONE
    assert (await bench.refuse(sample.operation, refused.request))[0] == Code.STEP_UNDONE
    assert (await bench.business() != before) is (undo is TELLS_ANYWAY)


@every_undo
async def test_an_undo_with_another_request_than_its_forward_is_a_conflict(
    open_bench: OpenBench, undo: Operations
) -> None:
    bench, sample = await _ready(open_bench, undo)
    await bench.accept(Call(sample.operation, sample.request))
    done = await bench.business()
    assert (await bench.refuse(undo, sample.other))[0] == Code.IDEMPOTENCY_CONFLICT
    assert await bench.business() == done
    assert await bench.passage(undo, sample.request) is PassageState.DONE
    await bench.accept(Call(undo, sample.request))


@every_undo
async def test_a_forward_after_its_undo_is_refused(open_bench: OpenBench, undo: Operations) -> None:
    bench, sample = await _ready(open_bench, undo)
    await bench.accept(Call(sample.operation, sample.request), Call(undo, sample.request))
    undone = await bench.business()
    assert (await bench.refuse(sample.operation, sample.request))[0] == Code.STEP_UNDONE
    assert await bench.business() == undone


@every_undo
async def test_a_late_forward_after_a_tombstone_is_refused(open_bench: OpenBench, undo: Operations) -> None:
    bench, sample = await _ready(open_bench, undo)
    await bench.accept(Call(undo, sample.request))
    left = await bench.business()
    assert (await bench.refuse(sample.operation, sample.request))[0] == Code.STEP_UNDONE
    assert (await bench.refuse(sample.operation, sample.other))[0] == Code.IDEMPOTENCY_CONFLICT
    assert await bench.business() == left
    assert sample.operation.name not in await bench.effects(sample.request.transaction_id)


@every_undo
async def test_one_list_may_hold_a_forward_twice_and_one_list_its_undo_twice(
    open_bench: OpenBench, undo: Operations
) -> None:
    bench, sample = await _ready(open_bench, undo)
    first, second = await bench.deliver_all(sample.operation, [sample.request, sample.request])
    assert first == second
    assert isinstance(first, sample.operation.reply)
    first, second = await bench.deliver_all(undo, [sample.request, sample.request])
    assert first == second
    effects = await bench.effects(sample.request.transaction_id)
    assert effects[-2:] == [sample.operation.name, undo.name]
    await assert_invariants(bench)


def test_a_field_added_with_a_default_leaves_the_digest_of_older_requests() -> None:
    class Older(AuthorizePayment):
        pass

    class Newer(AuthorizePayment):
        gift_wrap: bool = False

    fields: dict[str, Any] = {"transaction_id": "t", "order_id": "o", "customer_id": "c"}
    fields |= {"amount_minor": 1, "currency": "EUR"}
    assert digest(Older(**fields)) == digest(Newer(**fields))
    assert digest(Newer(**fields)) != digest(Newer(**fields, gift_wrap=True))
