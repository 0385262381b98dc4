"""What the desk says of a parked call in words, where no worker serves its queue."""

from datetime import UTC, datetime
from typing import Any

import pytest
from temporalio.client import Client

from cli.documents import document
from client.desk import OperatorsDesk, ParkedCall
from contracts.errors import Code
from contracts.order import NotificationMode, Order
from runtime import web_ui
from temporal_saga import CallKind, DeskRefused, Failure
from workflows.order import check_order_of

from ..roles import plan_in


def _call(step: str, code: str) -> ParkedCall:
    now = datetime.now(UTC)
    return ParkedCall(
        step=step,
        kind=CallKind.UNDO,
        since=now,
        attempts=5,
        next_attempt_at=now,
        error=Failure(code, "no answer in time", step),
        order_id="o-1",
        transaction_id="order/o-1",
    )


async def test_a_call_on_a_queue_without_a_worker_is_parked_because_nobody_serves_it(embedded: str) -> None:
    desk = OperatorsDesk(await Client.connect(embedded))
    own, ours = await desk.explained([_call("flight.cancel", "X"), _call("shipping.cancel#2", Code.STEP_TIMEOUT)])
    assert own.cause == "X: no answer in time", "nobody knows the queue of a service of one's own"
    assert ours.cause == "nobody serves the queue shipping: start `worker.py --service shipping`"
    assert ours.command == "starter.py desk retry o-1 shipping.cancel#2"


@pytest.mark.parametrize("code", [Code.IDEMPOTENCY_CONFLICT, Code.INVALID_REQUEST])
async def test_a_call_that_needs_another_request_is_to_be_shown_first(embedded: str, code: str) -> None:
    [call] = await OperatorsDesk(await Client.connect(embedded)).explained([_call("payment.cancel", code)])
    assert call.command == "starter.py desk show o-1 payment.cancel"


async def test_the_web_ui_s_address_is_known_once_it_is_in_the_namespace(embedded: str) -> None:
    client = await Client.connect(embedded)
    assert await web_ui.parked_link(client) is None
    await web_ui.keep_address(client, "http://127.0.0.1:8233/")
    link = await web_ui.parked_link(client)
    assert link == "http://127.0.0.1:8233/namespaces/default/workflows?query=SagaState%3D%22PARKED%22"


_ORDER = Order.model_validate(document("o-1", "c-1", [{"sku": "BOOK-1", "quantity": 1, "unit_price_minor": 1}]))
_NEW_REQUESTS = [
    call.request.model_dump(mode="json") for stage in plan_in(NotificationMode.REQUIRED).stages for call in stage.calls
]


@pytest.mark.parametrize("request_of", [{"transaction_id": "order/o-1", "points": 19}, *_NEW_REQUESTS])
def test_a_new_request_may_name_its_order_anywhere_or_nowhere_but_no_other(request_of: dict[str, Any]) -> None:
    check_order_of(request_of, _ORDER)
    for other in ({"order_id": "o-2"}, {"event": {"order": {"order_id": "o-2"}}}, {"lines": [{"order_id": "o-2"}]}):
        with pytest.raises(DeskRefused, match="must be one of order o-1, not of o-2"):
            check_order_of(request_of | other, _ORDER)
