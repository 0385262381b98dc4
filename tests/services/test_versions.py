"""Two builds of a service and its callers, between which a field was added: requests, replies and kept replies."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.catalogue import SERVICES
from activities.definition import Handler
from activities.fence import Decision, RefusedDecision
from activities.records import UnitOfWork
from activities.service import Service
from contracts import inventory, payment
from contracts.errors import Code
from contracts.message import NotIdentifying, Reply
from contracts.payment import Authorization, AuthorizePayment, Cancellation
from temporal_saga import Operation
from temporal_saga.outcome import Unknown, classify

from .databases import SqliteFiles
from .requests import balance, charge, document, reservation, stock_level
from .service_harness import Call, ServiceHarness

CHARGE = document(charge(500))


class LaterRequest(AuthorizePayment):
    descriptor: NotIdentifying[str | None] = None


class LaterReply(Authorization):
    network: str = "unknown"


class OtherReply(Authorization):
    """A reply that breaks the rule: kept replies of earlier builds do not have its field."""

    network: str


class OtherCancellation(Cancellation):
    network: str


def _build(
    harness: ServiceHarness,
    request: type[AuthorizePayment],
    reply: type[Authorization],
    cancelled: type[Cancellation] = Cancellation,
) -> dict[str, Callable[..., Any]]:
    """The activities of a payment service whose build knows these messages, on the harness's database."""
    authorize: Operation[Any, Any] = replace(payment.authorize, request=request, reply=reply)
    known: dict[Operation[Any, Any], Operation[Any, Any]] = {
        payment.authorize: authorize,
        payment.cancel: replace(payment.cancel, request=request, reply=cancelled, undoes=authorize),
        payment.capture: replace(payment.capture, request=request, acts_on=authorize),
    }
    definition = SERVICES["payment"]
    handlers = [
        replace(each, operation=known[each.operation], decide=partial(_as_now, each, known[each.operation].reply))
        if each.operation in known
        else each
        for each in definition.handlers
    ]
    service = Service(replace(definition, handlers=handlers), harness.database)
    return {each.operation.name: activity for each, activity in zip(handlers, service.activities(), strict=False)}


def _as_now(
    handler: Handler[Any, Any], reply: type[Reply], rows: UnitOfWork, request: AuthorizePayment
) -> Decision[Any]:
    """The decision of today's build, with the reply type of another one."""
    decision = handler.decide(rows, AuthorizePayment.model_validate(request.model_dump()))
    return Decision(reply.model_validate(decision.reply.model_dump()), decision.changed)


@pytest.fixture
async def harness(sqlite_files: SqliteFiles) -> ServiceHarness:
    harness = ServiceHarness("payment", await sqlite_files.migrated("payment"))
    await harness.accept(Call(payment.set_account, balance(10_000)))
    return harness


@pytest.fixture
def older(harness: ServiceHarness) -> dict[str, Callable[..., Any]]:
    return _build(harness, AuthorizePayment, Authorization)


@pytest.fixture
def later(harness: ServiceHarness) -> dict[str, Callable[..., Any]]:
    return _build(harness, LaterRequest, LaterReply)


async def _do(activity: Callable[..., Any], received: Any) -> Any:
    return await ActivityEnvironment().run(activity, received)


@pytest.mark.parametrize("second", ["payment.authorize", "payment.cancel", "payment.capture"])
@pytest.mark.parametrize("builds", ["older then later", "later then older", "later then later"])
@pytest.mark.parametrize(
    "fields", [({}, {"descriptor": "shop"}), ({"descriptor": "shop"}, {}), ({"descriptor": "a"},) * 2]
)
async def test_a_request_that_comes_again_is_the_same_one_for_a_build_a_field_apart(
    request: pytest.FixtureRequest,
    harness: ServiceHarness,
    second: str,
    builds: str,
    fields: tuple[dict[str, Any], ...],
) -> None:
    """The forward is done before an upgrade, and the second request comes from a newer caller after it."""
    first, then = (request.getfixturevalue(build) for build in builds.split(" then "))
    await _do(first["payment.authorize"], CHARGE | fields[0])
    await _do(then[second], CHARGE | fields[1])
    held = {"payment.authorize": 500, "payment.cancel": 0, "payment.capture": 0}[second]
    assert (await harness.row("accounts"))["held_minor"] == held


async def test_a_kept_reply_is_read_by_the_other_build(
    older: dict[str, Callable[..., Any]], later: dict[str, Callable[..., Any]]
) -> None:
    first = await _do(older["payment.authorize"], CHARGE)
    again = await _do(later["payment.authorize"], CHARGE)
    assert again == LaterReply(**first.model_dump(), repeated=True)
    other = CHARGE | {"transaction_id": "order/o-2", "order_id": "o-2"}
    assert (await _do(later["payment.authorize"], other)).network == "unknown"
    assert await _do(older["payment.authorize"], other) == first.model_copy(update={"repeated": True})


async def test_a_batch_may_have_fields_that_its_service_does_not_know(sqlite_files: SqliteFiles) -> None:
    harness = ServiceHarness("inventory", await sqlite_files.migrated("inventory"))
    await harness.accept(Call(inventory.set_stock, stock_level("apple", 9)))
    asked = {"requests": [document(reservation(f"order/{n}", apple=1)) | {"gift": True} for n in range(3)], "urgent": 1}
    name = "inventory.reserve.batch"
    perform = next(each for each in harness.service.activities() if each.__temporal_activity_definition.name == name)  # type: ignore[attr-defined]
    answers = await _do(perform, RawValue(Payload(data=json.dumps(asked).encode())))
    assert (answers.count, answers.refused) == (3, ())


@pytest.mark.parametrize("undone", [False, True])
async def test_a_kept_reply_that_cannot_be_read_is_reported_and_changes_nothing(
    harness: ServiceHarness,
    older: dict[str, Callable[..., Any]],
    undone: bool,  # noqa: FBT001 — a case
) -> None:
    name = "payment.cancel" if undone else "payment.authorize"
    await _do(older["payment.authorize"], CHARGE)
    if undone:
        await _do(older[name], CHARGE)
    before = await harness.business()
    other = _build(harness, AuthorizePayment, OtherReply, OtherCancellation)
    with pytest.raises(ApplicationError) as failure:
        await _do(other[name], CHARGE)
    assert (failure.value.type, failure.value.non_retryable) == (Code.UNREADABLE_REPLY, False)
    assert (
        failure.value.message == f"{name} was done, but its kept reply cannot be read: network: is required and missing"
    )
    ended = classify(failure.value, 1)
    assert isinstance(ended, Unknown)
    assert ended.code == Code.UNREADABLE_REPLY
    assert await harness.business() == before


async def test_a_kept_refusal_has_the_code_that_a_later_build_gave_it(
    harness: ServiceHarness, older: dict[str, Any]
) -> None:
    def refuse(*_: Any) -> Any:
        raise RefusedDecision("CARD_STOLEN", "the card was stolen")

    definition = SERVICES["payment"]
    authorize = next(each for each in definition.handlers if each.operation is payment.authorize)
    newer: Handler[Any, Any] = replace(authorize, decide=refuse)
    [activity, *_] = Service(replace(definition, handlers=[newer]), harness.database).activities()
    for delivered in (activity, older["payment.authorize"]):
        with pytest.raises(ApplicationError) as refused:
            await _do(delivered, CHARGE)
        assert (refused.value.type, refused.value.non_retryable) == ("CARD_STOLEN", True)
        assert refused.value.message == "the card was stolen"
