"""The profile `observability`: promtool accepts its files, and they name the services and ports of the compose file."""

import json
import os
import re
import shutil
import subprocess
from typing import Any
from urllib.parse import urlsplit

import pytest
from ruamel.yaml import YAML

from . import compose
from .compose import PROJECT

DEPLOY = PROJECT / "deploy"
_SERVICES = compose.services()


def _read(name: str) -> Any:
    return YAML(typ="safe").load(DEPLOY / name)


@pytest.mark.parametrize("arguments", ["check config prometheus.yml", "test rules alerts_test.yml"])
def test_promtool_finds_no_fault_in_the_rules_and_each_alert_fires_by_its_cause_alone(arguments: str) -> None:
    if shutil.which("promtool") is None:
        missing = "promtool is not installed; Debian has it in the package `prometheus`"
        pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)
    done = subprocess.run(["promtool", *arguments.split()], cwd=DEPLOY, capture_output=True, text=True, check=False)  # noqa: S607 — wherever it is installed
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_fired_by_the_tests_of_the_rules() -> None:
    alerts = {rule["alert"] for group in _read("alerts.yml")["groups"] for rule in group["rules"]}
    fired = re.findall(r'alertname="(\w+)"', (DEPLOY / "alerts_test.yml").read_text())
    assert set(fired) == alerts


def test_prometheus_reads_the_metrics_of_every_worker_and_the_mounted_rules() -> None:
    config = _read("prometheus.yml")
    [[found]] = [job["dns_sd_configs"] for job in config["scrape_configs"]]
    assert set(found["names"]) == set(compose.workers())
    assert {_SERVICES[name]["environment"]["METRICS_PORT"] for name in found["names"]} == {str(found["port"])}
    mounted = compose.bind_mounts(_SERVICES["prometheus"])
    assert mounted.keys() == {f"/etc/prometheus/{name}" for name in ("prometheus.yml", *config["rule_files"])}


def test_grafana_is_given_the_dashboard_and_sources_that_are_services() -> None:
    sources = {
        source["type"]: urlsplit(source["url"]).hostname for source in _read("grafana/datasources.yml")["datasources"]
    }
    assert sources == {"prometheus": "prometheus", "jaeger": "jaeger"}
    [provider] = _read("grafana/dashboards.yml")["providers"]
    dashboard = compose.bind_mounts(_SERVICES["grafana"])[provider["options"]["path"] + "/dashboard.json"]
    [variable] = json.loads(dashboard.read_text())["templating"]["list"]
    assert variable["query"] in sources


def test_the_collector_receives_what_workers_send_where_the_example_says() -> None:
    config = _read("collector.yml")
    port = config["receivers"]["otlp"]["protocols"]["grpc"]["endpoint"].rpartition(":")[2]
    assert f"http://collector:{port} " in (PROJECT / ".env.example").read_text()
    assert config["service"]["pipelines"] == {"traces": {"receivers": ["otlp"], "exporters": [*config["exporters"]]}}
    assert {exporter["endpoint"].partition(":")[0] for exporter in config["exporters"].values()} <= _SERVICES.keys()
    [mounted] = compose.bind_mounts(_SERVICES["collector"]).values()
    assert mounted == DEPLOY / "collector.yml"
