"""The metrics that the runbook has alerts for are exported by a worker."""

import json
import re
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from temporalio.client import Client
from temporalio.runtime import MetricBuffer, Runtime, TelemetryConfig

from contracts.catalogue import QUEUES
from contracts.order import WORKFLOWS_QUEUE
from recovery import parked
from recovery.parked import ParkedGauges
from tests.docs.runbook import RUNBOOK

from ..eventually import eventually_async
from ..orders import line
from .exported import exported, page
from .system import System

pytestmark = pytest.mark.xdist_group("system")
_DEPLOY = Path(__file__).parents[2] / "deploy"
_RULES, _DASHBOARD = _DEPLOY / "alerts.yml", _DEPLOY / "dashboard.json"
_METRIC = r"\b((?:temporal|saga|notification|fence|sweep)_[a-z_]+?)(?:_bucket)?(?=[\[{)\s])"


def _metrics_in(file: Path) -> set[str]:
    return set(re.findall(_METRIC, file.read_text()))


_METRICS = {name for file in (_RULES, _DASHBOARD) for name in _metrics_in(file) if name != "notification_messages"}
"""The metrics of rules and dashboard that a worker exports without a gateway for messages."""


async def test_a_worker_exports_every_metric_that_the_runbook_names(
    system: System, order: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    named = set(re.findall(r"`((?:temporal|saga|fence|sweep)_[a-z_]+)`", RUNBOOK.read_text())) | _METRICS
    assert system.run("place", "--item", "UNICORN-1:1").code == 1
    assert system.place(order("metrics-down")).code == 1  # its attempts fail
    jammed = order("jammed", lines=line("UNICORN-1"))
    assert system.place(jammed).code == 4
    client = await Client.connect(f"127.0.0.1:{system.port}")
    await _gauges_tell_what_is_parked(client, monkeypatch)
    skip = ("desk", "skip", jammed["order_id"], "payment.cancel", "--reason", "by hand", "--actor", "ann")
    assert system.run(*skip).code == 0
    assert system.run("sweep").code in (0, 4)
    stranger = await client.start_workflow("NoSuchWorkflow", id="a-bug", task_queue=WORKFLOWS_QUEUE)
    await client.start_workflow("OrderWorkflow", {}, id="no-order", task_queue=WORKFLOWS_QUEUE)

    async def missing() -> set[str]:
        return named - exported(system.worker_environment["METRICS_PORT"])

    await eventually_async(missing, "every metric is exported", until=lambda names: not names)
    await stranger.terminate()
    assert len(named) > 5


async def _gauges_tell_what_is_parked(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call by its service and code, with its age; what was not asked counts as unknown, and what is gone as 0."""
    buffer = MetricBuffer(1000)
    gauges = ParkedGauges(client, Runtime(telemetry=TelemetryConfig(logging=None, metrics=buffer)).metric_meter)
    unknown, jammed = ("unknown", ""), ("payment", "SERVICE_UNAVAILABLE")

    async def told() -> dict[tuple[str, str], dict[str, float]]:
        await gauges.refresh()
        seen: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
        for each in buffer.retrieve_updates():
            if "service" in each.attributes:
                by = str(each.attributes["service"]), str(each.attributes["error_code"])
                seen[by][each.metric.name] = each.value
        return seen

    def is_older_than_a_second(seen: dict[tuple[str, str], dict[str, float]]) -> bool:
        return seen[jammed].get("saga_parked_oldest_seconds", 0) >= 1

    seen = await eventually_async(told, "a parked call is seen", until=is_older_than_a_second)
    assert seen[jammed]["saga_parked_calls"] >= 1
    monkeypatch.setattr(parked, "_ASKED", 0)
    seen = await told()
    assert set(seen[jammed].values()) == {0}
    assert min(seen[unknown].values()) >= 1


def test_a_refused_order_is_no_failure_in_the_metrics(system: System) -> None:
    """A twentieth of all attempts fails by an injected fault, which counts: of three orders, less than three do."""
    port, orders = system.worker_environment["METRICS_PORT"], 3
    failed = _count(port, "temporal_workflow_failed")
    refused = _count(port, "temporal_activity_execution_failed", 'activity_type="inventory.reserve"')
    ends = [system.start_command("place", "--item", "UNICORN-1:1") for _ in range(orders)]
    assert [end.answer().code for end in ends] == [1] * orders
    assert _count(port, "saga_states", 'error_code="UNKNOWN_SKU"', 'state="ROLLED_BACK"') >= orders
    assert _count(port, "temporal_workflow_failed") == failed
    assert _count(port, "temporal_activity_execution_failed", 'activity_type="inventory.reserve"') < refused + orders


def test_a_choreographed_order_is_counted_once_in_each_state(system: System) -> None:
    port, labels = system.worker_environment["METRICS_PORT"], ('error_code="UNKNOWN_SKU"', 'state="ROLLED_BACK"')
    before = _count(port, "saga_states", *labels)
    assert system.run("place", "--item", "UNICORN-1:1", "--mode", "choreography").code == 1
    assert _count(port, "saga_states", *labels) == before + 1


def test_an_order_that_its_batch_has_detached_is_counted_once(
    system: System, order: Callable[..., dict[str, Any]]
) -> None:
    port = system.worker_environment["METRICS_PORT"]
    before = _count(port, "saga_states")
    assert system.run("bulk", "-", "--mode", "batch", stdin=json.dumps(order("detached"))).code == 0
    assert _count(port, "saga_states") == before + 1


def test_the_answers_of_a_fence_are_counted_by_kind_and_code(system: System) -> None:
    port, created = system.worker_environment["METRICS_PORT"], ('operation="order.create"', 'answer="acted"')
    refused = ('operation="inventory.reserve"', 'answer="refused"', 'code="UNKNOWN_SKU"')
    before = [_count(port, "fence_answers_total", *labels) for labels in (created, refused)]
    assert system.run("place", "--item", "UNICORN-1:1").code == 1
    after = [_count(port, "fence_answers_total", *labels) for labels in (created, refused)]
    assert all(now > then for now, then in zip(after, before, strict=True))


def _count(port: str, metric: str, *labels: str) -> float:
    """The sum of a counter over all its series that have `labels`."""
    series = re.findall(rf"^{metric}{{(.*)}} (\S+)$", page(port), re.MULTILINE)
    return sum(float(value) for found, value in series if all(label in found for label in labels))


def test_every_rule_names_a_chapter_of_the_runbook_and_every_alert_of_it_has_a_rule() -> None:
    rules = YAML(typ="safe").load(_RULES.read_text())["groups"][0]["rules"]
    titles = {
        f"docs/runbook.md#{title.lower()}" for title in re.findall(r"^## (\w+)", RUNBOOK.read_text(), re.MULTILINE)
    }
    assert {rule["annotations"]["runbook"] for rule in rules} <= titles
    assert len({rule["alert"] for rule in rules}) == len(rules)
    table = RUNBOOK.read_text().partition("| alert on |")[2].partition("\n\n")[0]
    alerted = set(re.findall(r"`((?:temporal|saga|notification|fence|sweep)_[a-z_]+)`", table))
    assert alerted - {"temporal_worker_task_slots_used"} <= _metrics_in(_RULES)
    assert all(f'task_queue="{queue}"' in _RULES.read_text() for queue in QUEUES)


def test_every_panel_asks_for_a_metric() -> None:
    board = json.loads(_DASHBOARD.read_text())
    asked = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    assert len(asked) >= 10
    assert all(re.search(_METRIC, expression) for expression in asked)
