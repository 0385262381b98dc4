"""The metrics that the runbook has alerts for are exported by a worker."""

from __future__ import annotations

import re
import urllib.request

import pytest
from temporalio.client import Client

from contracts.order import WORKFLOWS_QUEUE
from tests.docs.runbook import RUNBOOK

from ..eventually import eventually_async
from .system import System

pytestmark = pytest.mark.xdist_group("system")


async def test_a_worker_exports_every_metric_that_the_runbook_names(system: System) -> None:
    named = set(re.findall(r"`((?:temporal|saga)_[a-z_]+)`", RUNBOOK.read_text()))
    assert system.run("place", "--item", "UNICORN-1:1").code == 1
    client = await Client.connect(f"127.0.0.1:{system.port}")
    stranger = await client.start_workflow("NoSuchWorkflow", id="a-bug", task_queue=WORKFLOWS_QUEUE)
    await client.start_workflow("OrderWorkflow", {}, id="no-order", task_queue=WORKFLOWS_QUEUE)

    async def missing() -> set[str]:
        return named - _exported(system.worker_environment["METRICS_PORT"])

    await eventually_async(missing, "every metric is exported", until=lambda names: not names)
    await stranger.terminate()
    assert len(named) > 5


def test_a_refused_order_is_no_failure_in_the_metrics(system: System) -> None:
    """A twentieth of all attempts fails by an injected fault, which counts: of ten orders, less than ten do."""
    port, orders = system.worker_environment["METRICS_PORT"], 10
    failed = _count(port, "temporal_workflow_failed")
    refused = _count(port, "temporal_activity_execution_failed", 'activity_type="inventory.reserve"')
    ends = [system.start_command("place", "--item", "UNICORN-1:1") for _ in range(orders)]
    assert [end.answer().code for end in ends] == [1] * orders
    assert _count(port, "saga_states", 'error_code="UNKNOWN_SKU"', 'state="ROLLED_BACK"') >= orders
    assert _count(port, "temporal_workflow_failed") == failed
    assert _count(port, "temporal_activity_execution_failed", 'activity_type="inventory.reserve"') < refused + orders


def _exported(port: str) -> set[str]:
    return set(re.findall(r"^# TYPE (\w+) ", _page(port), re.MULTILINE))


def _count(port: str, metric: str, *labels: str) -> float:
    """The sum of a counter over all its series that have `labels`."""
    series = re.findall(rf"^{metric}{{(.*)}} (\S+)$", _page(port), re.MULTILINE)
    return sum(float(value) for found, value in series if all(label in found for label in labels))


def _page(port: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as page:
        text: str = page.read().decode()
    return text
