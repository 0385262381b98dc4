"""The metrics that the runbook alerts on are those that a worker exports."""

from __future__ import annotations

import re
import urllib.request

import pytest
from temporalio.client import Client

from contracts.order import WORKFLOWS_QUEUE
from runtime.embedded import free_port
from tests.docs.runbook import RUNBOOK

from ..eventually import eventually_async
from .system import System

pytestmark = pytest.mark.xdist_group("alerts")


async def test_a_worker_exports_every_metric_that_the_runbook_names(
    fresh_system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = set(re.findall(r"`((?:temporal|saga)_[a-z_]+)`", RUNBOOK.read_text()))
    port = free_port()
    monkeypatch.setenv("METRICS_PORT", str(port))
    fresh_system.start()
    assert fresh_system.run("place", "--item", "UNICORN-1:1").code == 1
    client = await Client.connect(f"127.0.0.1:{fresh_system.port}")
    stranger = await client.start_workflow("NoSuchWorkflow", id="a-bug", task_queue=WORKFLOWS_QUEUE)

    async def missing() -> set[str]:
        return named - _exported(port)

    await eventually_async(missing, "every metric is exported", until=lambda names: not names)
    await stranger.terminate()
    assert len(named) > 5


def _exported(port: int) -> set[str]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as page:
        text = page.read().decode()
    return set(re.findall(r"^# TYPE (\w+) ", text, re.MULTILINE))
