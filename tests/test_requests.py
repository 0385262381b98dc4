"""The requests of an order, and the calls of the process that they belong to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from contracts.order import NotificationMode, Order
from workflows.order import Requests, planned


@pytest.mark.parametrize("mode", NotificationMode)
def test_every_call_of_the_process_takes_the_request_that_is_found_by_its_type(mode: NotificationMode) -> None:
    """A batch has one plan for many orders, and finds each order's requests so."""
    order = json.loads(Path("examples/order.json").read_text()) | {"notification": mode}
    requests = Requests.of(Order.model_validate(order))
    plan = planned(requests)
    calls = [*(call for stage in plan.stages for call in stage.calls), plan.rollback_call]
    assert len(calls) > 5
    for call in calls:
        assert call is not None
        assert requests.to(call.operation) is call.request
