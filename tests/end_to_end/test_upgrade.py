"""An old and a new build of the workflows side by side: a saga ends on the build that began it."""

import json
from pathlib import Path
from subprocess import CalledProcessError

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client

from activities.catalogue import SERVICES

from ..eventually import eventually_async
from .conftest import Make
from .processes import other_build, temporal, worker
from .system import System

pytestmark = [pytest.mark.chaos, pytest.mark.xdist_group("upgrade")]


DEPLOYMENT = "order-saga"
COURIER_IS_DOWN = """
[[fault]]
transaction = "order/*-held"
operation = "shipping.dispatch"
kind = "refuse"
"""


@pytest.fixture
def services(fresh_system: System) -> System:
    """The server and the services without shipping. Services have no build: one process serves all builds."""
    fresh_system.options = [word for name in SERVICES if name != "shipping" for word in ("--service", name)]
    fresh_system.start()
    for seed in (["stock", "set", "BOOK-1", "100"], ["account", "set", "c-1", "1000000"]):
        assert fresh_system.run(*seed).code == 0
    return fresh_system


def _build(name: str) -> dict[str, str]:
    return {"TEMPORAL_DEPLOYMENT_NAME": DEPLOYMENT, "TEMPORAL_WORKER_BUILD_ID": name}


async def _make_current(system: System, build: str) -> None:
    """Run the runbook's command until the server accepts it: it learns of a new build after the workers have polled."""
    command = ["worker", "deployment", "set-current-version", "--deployment-name", DEPLOYMENT, "--build-id", build]

    async def refused() -> str | None:
        try:
            temporal(system, *command, "--yes")
        except CalledProcessError as error:
            return str(error.stderr)
        return None

    await eventually_async(refused, f"{build} is current", until=lambda why: why is None)


async def _parked(system: System, count: int) -> None:
    async def parked() -> int:
        return len(system.run("desk", "list", "--json").document)

    await eventually_async(parked, f"{count} calls are parked", until=count.__eq__)


async def _builds_of(client: Client, order_id: str) -> set[str]:
    """The builds that completed a workflow task of the order."""
    history = await client.get_workflow_handle(f"order/{order_id}").fetch_history()
    done = EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
    tasks = [e.workflow_task_completed_event_attributes for e in history.events if e.event_type == done]
    return {task.deployment_version.build_id for task in tasks}


async def _nothing_runs_on(system: System, build: str) -> None:
    async def running() -> int:
        return _running(system, build)

    await eventually_async(running, "visibility knows that nothing runs on the old build", until=(0).__eq__)


def _running(system: System, build: str) -> int:
    """The number of open workflows of a build, counted with the runbook's query."""
    query = f"TemporalWorkerDeploymentVersion = '{DEPLOYMENT}:{build}' AND ExecutionStatus = 'Running'"
    return int(json.loads(temporal(system, "workflow", "count", "--query", query, "--output", "json")).get("count", 0))


async def test_running_sagas_end_on_the_old_build_while_new_orders_go_to_the_new_one(
    services: System, order: Make
) -> None:
    faults = services.folder / "faults.toml"
    faults.write_text(COURIER_IS_DOWN)
    held, new = [order("held") for _ in range(3)], order("new")
    old_build = ["--service", "orders"]
    with other_build(services, "-m", "tests.replay.new_build", "--service", "orders", **_build("new")):
        with (
            worker(services, *old_build, **_build("old")),
            worker(services, "--service", "shipping", "--faults", str(faults)),
        ):
            await _make_current(services, "old")
            for placed in held:
                assert services.place(placed, "--no-wait").code == 0
            await _parked(services, len(held))
            await _make_current(services, "new")
            assert services.place(new).document["state"] == "CONFIRMED"
            assert _running(services, "old") == len(held)
        with worker(services, "--service", "shipping"):
            with worker(services, *old_build, **_build("old")):  # stopped too early, and started again
                services.run("desk", "retry", "--all", "--code", "SERVICE_UNAVAILABLE")
                assert [services.place(placed).document["state"] for placed in held] == ["CONFIRMED"] * len(held)
                await _nothing_runs_on(services, "old")
            assert services.run("status", held[0]["order_id"]).code == 0, "the old build is stopped: its ends are kept"
            assert services.run("sweep", "--json").document["found"] == 0, "an activity of the queue that has builds"
    assert services.run("audit").code == 0
    client = await Client.connect(f"127.0.0.1:{services.port}")
    builds = [await _builds_of(client, placed["order_id"]) for placed in (*held, new)]
    assert builds == [{"old"}, {"old"}, {"old"}, {"new"}]


VARIABLES = ("TEMPORAL_DEPLOYMENT_NAME", "TEMPORAL_WORKER_BUILD_ID")


@pytest.mark.parametrize(("given", "missing"), [VARIABLES, VARIABLES[::-1]])
def test_half_a_build_is_an_error_that_names_the_other_variable(tmp_path: Path, given: str, missing: str) -> None:
    answer = System(tmp_path).run("list", **{given: "x"})
    assert answer.code == 2
    assert answer.err.startswith(f"error: {missing}: must be set too")
