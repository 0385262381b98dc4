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

    async def missing() -> set[str]:
        return named - _exported(system.worker_environment["METRICS_PORT"])

    await eventually_async(missing, "every metric is exported", until=lambda names: not names)
    await stranger.terminate()
    assert len(named) > 5


def _exported(port: str) -> set[str]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as page:
        text = page.read().decode()
    return set(re.findall(r"^# TYPE (\w+) ", text, re.MULTILINE))
