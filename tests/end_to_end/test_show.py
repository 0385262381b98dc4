"""What `list`, `graph` and `doctor` show of a system that runs."""

import asyncio
import base64
from typing import Any
from uuid import uuid4

import pytest
from google.protobuf.duration_pb2 import Duration
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest
from temporalio.client import Client

from activities.catalogue import SERVICES
from client.health import workers

from ..eventually import eventually_async
from .conftest import Make
from .system import System

pytestmark = pytest.mark.xdist_group("system")


def _checks(system: System, **environment: str) -> tuple[int, dict[str, dict[str, Any]]]:
    answer = system.run("doctor", "--json", **environment)
    return answer.code, {check["check"]: check for check in answer.document}


def test_the_doctor_looks_at_every_part_and_finds_the_schedule_that_is_paused_here(system: System) -> None:
    code, checks = _checks(system)
    expected = {"server", "namespace", "search attributes", "clock", "keys", "sweep"}
    expected |= {f"workers of {queue}" for queue in ("orders", *SERVICES)} | {
        f"database of {name}" for name in SERVICES
    }
    assert checks.keys() == expected
    assert [name for name, check in checks.items() if not check["ok"]] == ["sweep"]
    assert "temporal schedule toggle" in checks["sweep"]["remedy"]
    assert checks["workers of payment"]["found"].startswith("1 worker (")
    assert checks["clock"]["found"].endswith("of the server's")
    assert code == 1


def test_the_doctor_finds_a_key_that_the_workers_do_not_have(system: System, order: Make) -> None:
    assert system.place(order("keys")).code in (0, 1)
    key = base64.urlsafe_b64encode(bytes(32)).decode()
    code, checks = _checks(system, PAYLOAD_KEY=key)
    assert (code, checks["keys"]["ok"]) == (1, False)
    assert "in clear text by its client and the workers of orders and the services" in checks["keys"]["found"]
    assert key not in str(checks)


def test_the_doctor_names_a_namespace_and_databases_that_are_not_there(system: System) -> None:
    code, checks = _checks(
        system, TEMPORAL_NAMESPACE="nowhere", DATABASE_URL="sqlite+aiosqlite:////nowhere/{service}.db"
    )
    assert code == 3
    assert checks["namespace"]["found"] == "there is no 'nowhere'"
    assert not checks["database of order"]["ok"]


async def test_the_doctor_of_a_namespace_that_is_not_set_up_names_all_that_it_lacks(system: System) -> None:
    client, name = await Client.connect(f"127.0.0.1:{system.port}"), f"bare-{uuid4().hex[:8]}"
    retention = Duration(seconds=86_400)
    request = RegisterNamespaceRequest(namespace=name, workflow_execution_retention_period=retention)
    await client.workflow_service.register_namespace(request)

    async def seen() -> tuple[int, dict[str, dict[str, Any]]]:
        return await asyncio.to_thread(_checks, system, TEMPORAL_NAMESPACE=name)

    looked = "the namespace can be used"
    code, checks = await eventually_async(seen, looked, until=lambda answer: answer[1].get("keys", {}).get("ok"))
    assert code == 1
    assert (
        checks["search attributes"]["found"]
        == "missing: SagaState, SagaErrorCode, SagaParkedSince, SagaOrder, SagaDecidedAt"
    )
    assert "python -m temporal_saga register" in checks["search attributes"]["remedy"]
    assert checks["workers of orders"]["found"] == "nobody polls it"
    assert checks["sweep"]["found"] == "there is no schedule 'sweep'"
    assert "belongs to Temporal namespace 'default'" in checks["database of order"]["found"]


async def test_a_queue_without_a_worker_is_a_fault_that_says_what_to_start(system: System) -> None:
    check = await workers(await Client.connect(f"127.0.0.1:{system.port}"), "nobodys")
    assert (check.ok, check.found) == (False, "nobody polls it")
    assert check.remedy.startswith("start `worker.py --service nobodys`")


@pytest.mark.parametrize("mode", ["saga", "choreography"])
def test_a_row_of_the_list_says_how_an_order_travels_and_who_coordinates_it(
    system: System, order: Make, mode: str
) -> None:
    placed = order("listed")
    assert system.place(placed, "--mode", mode).code in (0, 1)
    name = placed["order_id"]
    rows = system.run("list", "--json", "--limit", "50").document
    [row] = [row for row in rows if row["order_id"] == name]
    coordinator = {"saga": f"order/{name}", "choreography": f"choreography/{name}/order"}[mode]
    assert (row["kind"], row["coordinator"]) == (mode, coordinator)
    shown = [row for row in rows if row["state"] != "PARKED"]
    assert [row["started_at"] for row in shown] == sorted((row["started_at"] for row in shown), reverse=True)


@pytest.mark.parametrize("mode", ["saga", pytest.param("choreography", marks=pytest.mark.long)])
def test_the_picture_of_an_order_shows_what_was_refused_and_which_undos_ran(
    system: System, order: Make, mode: str
) -> None:
    placed = order("drawn", customer_id="nobody")
    assert system.place(placed, "--mode", mode).code == 1
    drawn = system.run("graph", placed["order_id"], "--json").document
    by_operation = {node["operation"]: node for node in drawn["nodes"]}
    assert by_operation["payment.authorize"]["status"] == "REFUSED"
    assert by_operation["order.cancel"]["status"] == "DONE"
    assert by_operation["order.confirm"]["status"] is None
    assert drawn["title"] == f"order/{placed['order_id']}: ROLLED_BACK, PAYMENT_DECLINED"


def test_the_picture_of_an_order_that_is_not_there_is_refused_as_its_status_is(system: System) -> None:
    answers = [system.run(command, "no-such-order") for command in ("graph", "status")]
    assert [answer.code for answer in answers] == [2, 2]
    assert answers[0].err == answers[1].err
