"""A service and its callers of two builds, a field apart: requests, replies and what the fence has kept."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.catalogue import SERVICES
from activities.fence import Decision, Refusal
from activities.records import Rows
from activities.service import Handler, Service
from contracts import inventory, payment
from contracts.errors import Code
from contracts.message import Added, Reply
from contracts.payment import Authorization, AuthorizePayment, Cancellation
from saga import Operation
from saga.outcome import Unknown, classify

from .bench import Bench, Call
from .databases import SqliteFiles
from .requests import charge, document, purse, reservation, shelf

CHARGE = document(charge(500))


class LaterRequest(AuthorizePayment):
    descriptor: Added[str | None] = None


class LaterReply(Authorization):
    network: str = "unknown"


class OtherReply(Authorization):
    """Against the rule: what was kept before has no such field."""

    network: str


class OtherCancellation(Cancellation):
    network: str


def _build(
    bench: Bench,
    request: type[AuthorizePayment],
    reply: type[Authorization],
    cancelled: type[Cancellation] = Cancellation,
) -> dict[str, Callable[..., Any]]:
    """The activities of a build of the payment service that knows these messages, on the bench's database."""
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
    service = Service(replace(definition, handlers=handlers), bench.database)
    return {each.operation.name: activity for each, activity in zip(handlers, service.activities(), strict=False)}


def _as_now(handler: Handler[Any, Any], reply: type[Reply], rows: Rows, request: AuthorizePayment) -> Decision[Any]:
    """What today's build decides: what another does with a field of its own does not matter here."""
    decision = handler.decide(rows, AuthorizePayment.model_validate(request.model_dump()))
    return Decision(reply.model_validate(decision.reply.model_dump()), decision.changed)


@pytest.fixture
async def bench(sqlite: SqliteFiles) -> AsyncIterator[Bench]:
    opened = Bench("payment", await sqlite.migrated("payment"))
    await opened.accept(Call(payment.set_account, purse(10_000)))
    yield opened
    await opened.database.dispose()


@pytest.fixture
def older(bench: Bench) -> dict[str, Callable[..., Any]]:
    return _build(bench, AuthorizePayment, Authorization)


@pytest.fixture
def later(bench: Bench) -> dict[str, Callable[..., Any]]:
    return _build(bench, LaterRequest, LaterReply)


async def _do(activity: Callable[..., Any], received: Any) -> Any:
    return await ActivityEnvironment().run(activity, received)


@pytest.mark.parametrize("second", ["payment.authorize", "payment.cancel", "payment.capture"])
@pytest.mark.parametrize("builds", ["older then later", "later then older", "later then later"])
@pytest.mark.parametrize(
    "fields", [({}, {"descriptor": "shop"}), ({"descriptor": "shop"}, {}), ({"descriptor": "a"},) * 2]
)
async def test_a_request_that_comes_again_is_the_same_one_for_a_build_a_field_apart(
    request: pytest.FixtureRequest, bench: Bench, second: str, builds: str, fields: tuple[dict[str, Any], ...]
) -> None:
    """The forward was sent, and done, before an upgrade; what belongs to it comes after, in a caller's newer words."""
    first, then = (request.getfixturevalue(build) for build in builds.split(" then "))
    await _do(first["payment.authorize"], CHARGE | fields[0])
    await _do(then[second], CHARGE | fields[1])
    held = {"payment.authorize": 500, "payment.cancel": 0, "payment.capture": 0}[second]
    assert (await bench.row("accounts"))["held_minor"] == held


async def test_a_kept_reply_is_read_by_the_other_build(
    older: dict[str, Callable[..., Any]], later: dict[str, Callable[..., Any]]
) -> None:
    first = await _do(older["payment.authorize"], CHARGE)
    again = await _do(later["payment.authorize"], CHARGE)
    assert again == LaterReply(**first.model_dump())
    other = CHARGE | {"transaction_id": "order/o-2", "order_id": "o-2"}
    assert (await _do(later["payment.authorize"], other)).network == "unknown"
    assert await _do(older["payment.authorize"], other) == first


async def test_a_list_of_requests_may_have_fields_that_its_service_does_not_know(sqlite: SqliteFiles) -> None:
    bench = Bench("inventory", await sqlite.migrated("inventory"))
    await bench.accept(Call(inventory.set_stock, shelf("apple", 9)))
    asked = {"requests": [document(reservation(f"order/{n}", apple=1)) | {"gift": True} for n in range(3)], "urgent": 1}
    name = "inventory.reserve.batch"
    many = next(each for each in bench.service.activities() if each.__temporal_activity_definition.name == name)  # type: ignore[attr-defined]
    answers = await _do(many, RawValue(Payload(data=json.dumps(asked).encode())))
    assert (answers.count, answers.refused) == (3, ())
    await bench.database.dispose()


@pytest.mark.parametrize("undone", [False, True])
async def test_a_kept_reply_that_cannot_be_read_is_said_and_leaves_the_others_alone(
    bench: Bench,
    older: dict[str, Callable[..., Any]],
    undone: bool,  # noqa: FBT001 — a case
) -> None:
    name = "payment.cancel" if undone else "payment.authorize"
    await _do(older["payment.authorize"], CHARGE)
    if undone:
        await _do(older[name], CHARGE)
    before = await bench.business()
    other = _build(bench, AuthorizePayment, OtherReply, OtherCancellation)
    with pytest.raises(ApplicationError) as said:
        await _do(other[name], CHARGE)
    assert (said.value.type, said.value.non_retryable) == (Code.UNREADABLE_REPLY, False)
    assert said.value.message == f"{name} was done, but its kept answer cannot be read: network: Field required"
    ended = classify(said.value, 1)
    assert isinstance(ended, Unknown)
    assert ended.code == Code.UNREADABLE_REPLY
    assert await bench.business() == before


async def test_a_kept_refusal_has_the_code_that_a_later_build_gave_it(bench: Bench, older: dict[str, Any]) -> None:
    def refuse(*_: Any) -> Any:
        raise Refusal("CARD_STOLEN", "the card was stolen")

    definition = SERVICES["payment"]
    authorize = next(each for each in definition.handlers if each.operation is payment.authorize)
    newer: Handler[Any, Any] = replace(authorize, decide=refuse)
    [activity, *_] = Service(replace(definition, handlers=[newer]), bench.database).activities()
    for delivered in (activity, older["payment.authorize"]):
        with pytest.raises(ApplicationError) as refused:
            await _do(delivered, CHARGE)
        assert (refused.value.type, refused.value.non_retryable) == ("CARD_STOLEN", True)
        assert refused.value.message == "the card was stolen"
