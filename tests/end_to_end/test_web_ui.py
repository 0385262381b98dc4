"""What the Web UI shows of each workflow: of its start, of its calls, and of its end."""

import asyncio
import json

import pytest
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.client import Client, ScheduleActionStartWorkflow

from client.engines.batch import Batch, BatchEngine
from contracts.choreography import Fact
from contracts.ids import SCHEDULE_ID, order_workflow_id, participant_id
from contracts.order import Order
from runtime.connection import data_converter
from runtime.settings import Settings
from temporal_saga import State
from temporal_saga.visibility import SAGA_STATE

from ..eventually import eventually_async
from ..orders import line
from .conftest import Make
from .system import System

pytestmark = pytest.mark.xdist_group("system")


async def _connect(system: System) -> Client:
    return await Client.connect(f"127.0.0.1:{system.port}", data_converter=data_converter(Settings()))


async def _said_at_its_start(client: Client, workflow_id: str) -> tuple[str, str]:
    described = await client.get_workflow_handle(workflow_id).describe()
    return await described.static_summary() or "", await described.static_details() or ""


async def _events(client: Client, workflow_id: str) -> list[HistoryEvent]:
    return list((await client.get_workflow_handle(workflow_id).fetch_history()).events)


async def _details(client: Client, workflow_id: str) -> str:
    handle = client.get_workflow_handle(workflow_id)
    found = await handle.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
    return str(found.current_details)


@pytest.mark.parametrize("mode", ["saga", "colocated", "choreography"])
async def test_an_order_says_at_its_start_whose_it_is_what_it_wants_and_which_command_shows_it(
    system: System, order: Make, mode: str
) -> None:
    placed = order()
    assert (await asyncio.to_thread(system.place, placed, "--mode", mode)).code == 0
    client, order_id = await _connect(system), placed["order_id"]
    chosen = {"choreography": (participant_id(order_id, "payment"), "payment's part")}
    workflow_id, role = chosen.get(mode, (order_workflow_id(order_id), mode))
    summary, details = await _said_at_its_start(client, workflow_id)
    assert summary == f"{role}, c-1: 2 x BOOK-1; total_minor 2598 EUR"
    assert f"`starter.py status {order_id}`" in details
    assert "\n\n- 2 x BOOK-1" in details
    assert not any(
        word in details for word in (*placed["ship_to"].values(), *placed["contact"].values()) if word != "DE"
    )


async def test_a_transaction_its_lane_and_the_sweep_say_what_they_are(system: System) -> None:
    document = {
        "transaction_id": "web-ui-1",
        "steps": [{"name": "look", "commit": "inventory.list_stock", "input": {}, "timeout_s": 5}],
    }
    said = ["transaction", "-", "--lane", "web-ui"]
    assert (await asyncio.to_thread(system.run, *said, stdin=json.dumps(document))).code == 0
    client = await _connect(system)
    assert (await _said_at_its_start(client, "lane/web-ui"))[0] == "serial lane"
    assert (await _said_at_its_start(client, "transaction/web-ui-1"))[0] == "in its turn in a serial lane"
    document["transaction_id"] = "web-ui-2"
    assert (
        await asyncio.to_thread(system.run, "transaction", "-", "--concurrent", stdin=json.dumps(document))
    ).code == 0
    summary, details = await _said_at_its_start(client, "transaction/web-ui-2")
    assert (summary, "\n\n- look" in details) == ("look", True)
    schedule = await client.get_schedule_handle(SCHEDULE_ID).describe()
    action = schedule.schedule.action
    assert isinstance(action, ScheduleActionStartWorkflow)
    assert action.static_summary is not None


async def test_the_events_of_a_choreography_are_signals_named_by_their_fact(system: System, order: Make) -> None:
    placed = order()
    assert (await asyncio.to_thread(system.place, placed, "--mode", "choreography")).code == 0
    events = await _events(await _connect(system), participant_id(placed["order_id"]))
    heard = {each.workflow_execution_signaled_event_attributes.signal_name for each in events} - {""}
    assert {Fact.PAYMENT_AUTHORIZED, Fact.STOCK_RESERVED, Fact.SHIPMENT_SCHEDULED} <= heard <= set(Fact)


async def test_a_batch_carries_the_worst_state_of_its_orders_and_counts_them(system: System, order: Make) -> None:
    documents = [order(), order(), order(lines=line("UNICORN-1"))]
    batch = Batch()
    for each in documents:
        batch.add(each["order_id"], Order.model_validate(each).model_dump_json().encode())
    client = await _connect(system)
    await BatchEngine(client, batch.id).start(batch)
    ended = await BatchEngine(client, batch.id).outcome()
    summary, details = await _said_at_its_start(client, batch.id)
    assert summary == "3 orders: " + ", ".join(batch.documents)
    assert f"\n\n- {documents[0]['order_id']}\n" in details
    told = await _details(client, batch.id)
    assert told.startswith("**3 orders**\n\n- ")
    states = [log.state for log in ended.logs().values()]
    assert (f"- ROLLED_BACK: {states.count(State.ROLLED_BACK)}" in told, State.ROLLED_BACK in states) == (True, True)

    async def attribute() -> str | None:
        described = await client.get_workflow_handle(batch.id).describe()
        return described.typed_search_attributes.get(SAGA_STATE)

    worst = await eventually_async(attribute, "the attribute is there", until=bool)
    assert worst == ("ROLLED_BACK" if all(state.is_end for state in states) else worst)
    activities = [each for each in await _events(client, batch.id) if each.HasField("user_metadata")]
    assert any(b"3 orders" in each.user_metadata.summary.data for each in activities)


async def test_a_refusal_and_the_end_of_its_order_have_no_stack_trace(system: System, order: Make) -> None:
    placed = order(lines=line("UNICORN-1"))
    assert (await asyncio.to_thread(system.place, placed)).code == 1
    *_, last = await _events(await _connect(system), order_workflow_id(placed["order_id"]))
    failure = last.workflow_execution_failed_event_attributes.failure
    assert (failure.stack_trace, failure.HasField("cause")) == ("", False)
    [log] = failure.application_failure_info.details.payloads
    assert json.loads(log.data)["state"] == "ROLLED_BACK"
    events = await _events(await _connect(system), order_workflow_id(placed["order_id"]))
    refused = [each.activity_task_failed_event_attributes.failure for each in events]
    assert [no.stack_trace for no in refused if no.application_failure_info.type == "UNKNOWN_SKU"] == [""]
