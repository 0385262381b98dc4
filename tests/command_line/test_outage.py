"""An outage of Temporal is one line on stderr, however many calls wait for its end."""

import asyncio
import gc
import logging
from collections.abc import Iterator
from typing import Any, cast

import pytest
from temporalio.client import Client
from temporalio.converter import DataConverter
from temporalio.service import RPCError, RPCStatusCode

from cli.documents import generated_orders
from cli.tally import Tally
from client import standing
from client.bulk import place_many
from client.engines.engine import wait_for_saga
from client.orders import Mode, Orders
from client.outage import OutageBudget
from runtime import logs


def _gone() -> RPCError:
    return RPCError("connection refused", RPCStatusCode.UNAVAILABLE, b"")


class _HandleOfAServerThatIsGone:
    """Its result is waited for a moment longer than it takes to ask how it stands."""

    id = "order/o-1"

    async def result(self) -> Any:
        await asyncio.sleep(0.05)
        raise _gone()


class _ClientOfAServerThatIsGone:
    namespace = "default"
    data_converter = DataConverter.default

    @property
    def workflow_service(self) -> Any:
        return self

    async def start_workflow(self, *_: Any, **__: Any) -> Any:
        raise _gone()

    async def describe_workflow_execution(self, *_: Any, **__: Any) -> Any:
        raise _gone()

    def get_workflow_handle(self, _: str, **__: Any) -> _HandleOfAServerThatIsGone:
        return _HandleOfAServerThatIsGone()


async def test_a_wait_that_an_outage_ends_leaves_no_failure_that_nobody_retrieves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    unretrieved: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unretrieved.append(context))
    monkeypatch.setattr(standing, "FIRST_LOOK_AFTER_S", 0.01)
    client = cast("Client", _ClientOfAServerThatIsGone())
    ended = await asyncio.gather(wait_for_saga(client, "order/o-1", 10), return_exceptions=True)
    assert isinstance(ended[0], RPCError)
    del ended  # its traceback holds what was waited for
    await asyncio.sleep(0.1)
    gc.collect()
    assert unretrieved == []


@pytest.mark.parametrize("mode", Mode)
async def test_an_order_that_an_outage_kept_from_its_start_is_not_told_as_running(mode: Mode) -> None:
    client, tally = cast("Client", _ClientOfAServerThatIsGone()), Tally(keeps_outcomes=True)
    async for placed in place_many(Orders(client, OutageBudget(0)), generated_orders(2), mode, concurrency=2):
        tally.add(placed)
    summary = tally.summary(1.0)
    assert (summary.states, summary.errors) == ({"UNKNOWN": 2}, {"UNREACHABLE": 2})
    assert [str(each.state) for each in summary.outcomes or ()] == ["UNKNOWN"] * 2
    assert not tally.all_told


@pytest.fixture
def told() -> Iterator[list[str]]:
    lines: list[str] = []
    logs.tell_outages(lines.append)
    yield lines
    logs.CORE.filters.clear()


def test_the_warnings_of_all_waiting_calls_are_one_line(told: list[str], caplog: pytest.LogCaptureFixture) -> None:
    for attempt in range(360):
        logs.CORE.warning("gRPC call poll retried %d times", attempt)
    assert len(told) == 1
    assert told[0].startswith("Temporal does not answer")
    assert caplog.records == []


def test_a_later_outage_is_told_again(told: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    logs.CORE.warning("gRPC call retried")
    monkeypatch.setattr(logs, "_ONE_OUTAGE_S", -1)
    logs.CORE.warning("gRPC call retried")
    assert len(told) == 2


def test_what_an_outage_budget_waits_for_is_the_same_outage(told: list[str]) -> None:
    budget = OutageBudget()
    logs.CORE.warning("gRPC call retried")
    assert [budget.allows_retry(_gone()) for _ in range(20)] == [True] * 20
    assert len(told) == 1


def test_an_error_of_the_core_is_not_kept_back(told: list[str], caplog: pytest.LogCaptureFixture) -> None:
    logs.CORE.error("something else")
    assert (told, [record.levelno for record in caplog.records]) == ([], [logging.ERROR])
