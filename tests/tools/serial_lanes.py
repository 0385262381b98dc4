"""A serial lane under load: many clients at once, failing services, and kill -9; then the proof from the histories.

python -m tests.tools.serial_lanes --transactions 1000 --clients 20 --kills 2
python -m tests.tools.serial_lanes --transactions 10000 --clients 50 --kills 0 --fault-rate 0
"""

import argparse
import asyncio
import itertools
import signal
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError, WorkflowHistory
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.service import RPCError

from client.transactions import Transactions
from contracts.ids import lane_id
from contracts.lane import LaneEntry
from contracts.transaction import Transaction
from tests.end_to_end.system import System
from tests.transactions.lane_history import started

_TIMEOUT_S = 6 * 3600
"""Limit on a run: twice what ten thousand transactions take at one a second."""
_RETRY_S = 0.5
"""Pause between attempts of a client whose server is gone."""


@dataclass(frozen=True)
class Proof:
    """Pairs of one lane that ran at the same time, and transactions that did not run in order of arrival."""

    ended: Counter[str]
    overlaps: list[tuple[str, str]]
    overtaken: list[str]
    runs: int
    lanes_together: int
    """Pairs of neighbouring transactions of different lanes that ran at the same time, as they should."""


def document(number: int, lane: str) -> dict[str, Any]:
    """A transaction that holds goods, then money. One in twenty has no account: its goods are released."""
    name = f"{lane}-{number:05}"
    customer = "nobody" if number % 20 == 7 else f"c-{number % 10 + 1}"
    charge = {"order_id": name, "customer_id": customer, "amount_minor": 100, "currency": "EUR"}
    goods = {"order_id": name, "lines": [{"sku": "BOOK-1", "quantity": 1}]}
    steps = [
        {"name": "goods", "commit": "inventory.reserve", "rollback": "inventory.release", "input": goods},
        {"name": "money", "commit": "payment.authorize", "rollback": "payment.cancel", "input": charge},
    ]
    return {"transaction_id": name, "steps": [step | {"timeout_s": 30} for step in steps]}


async def submit_all(system: System, lanes: Sequence[str], transactions: int, clients: int, kills: int) -> None:
    """Submit `transactions` to each lane, `clients` at a time, and kill the system `kills` times meanwhile."""
    ended = itertools.count(1)
    kill_after = {transactions * len(lanes) * (kill + 1) // (kills + 1) for kill in range(kills)}

    async def submit(waiting: Iterator[int], lane: str, due: asyncio.Queue[int]) -> None:
        client = await connect(system)
        for number in waiting:
            await _to_the_end(client, Transaction.model_validate(document(number, lane)), lane)
            due.put_nowait(next(ended))

    async def kill(due: asyncio.Queue[int]) -> None:
        for _ in range(transactions * len(lanes)):
            if await due.get() in kill_after:
                await asyncio.to_thread(system.stop, signal.SIGKILL)
                await asyncio.to_thread(system.start)

    due: asyncio.Queue[int] = asyncio.Queue()
    queues = {lane: iter(range(transactions)) for lane in lanes}
    async with asyncio.timeout(_TIMEOUT_S):
        await asyncio.gather(kill(due), *(submit(queues[lane], lane, due) for lane in lanes for _ in range(clients)))


async def _to_the_end(client: Client, transaction: Transaction, lane: str) -> None:
    """Enter the lane and wait, as the command does; begin again when the server goes away."""
    while True:
        try:
            await Transactions(client).enter(transaction, lane)
            while True:
                try:
                    await client.get_workflow_handle(transaction.workflow_id).result()
                except WorkflowFailureError:
                    return
                except RPCError as error:
                    if "not found" not in error.message:
                        raise
                    await asyncio.sleep(_RETRY_S)  # it waits in the lane
                    continue
                return
        except RPCError:
            await asyncio.sleep(_RETRY_S)


async def prove(system: System, lanes: Sequence[str], transactions: int) -> Proof:
    client = await connect(system)
    states: Counter[str] = Counter()
    times: dict[str, list[tuple[datetime, datetime, str]]] = {}
    overtaken, runs = [], 0
    for lane in lanes:
        histories = [run async for run in _runs(client, lane)]
        runs += len(histories)
        order = started(histories)
        overtaken += [
            name for name, came in zip(order, await _arrivals(client, histories), strict=True) if name != came
        ]
        times[lane] = []
        for number in range(transactions):
            name = str(document(number, lane)["transaction_id"])
            found = await client.get_workflow_handle(f"transaction/{name}").describe()
            assert found.status is not None
            states[WorkflowExecutionStatus(found.status).name] += 1
            assert found.close_time is not None, f"{name} has no end"
            times[lane].append((found.start_time, found.close_time, name))
        times[lane].sort()
    pairs = [(a, b) for lane in lanes for a, b in itertools.pairwise(times[lane])]
    overlaps = [(a[2], b[2]) for a, b in pairs if b[0] < a[1]]
    return Proof(states, overlaps, overtaken, runs, _together(times))


def _together(times: dict[str, list[tuple[datetime, datetime, str]]]) -> int:
    merged = sorted((start, end, lane) for lane, spans in times.items() for start, end, _ in spans)
    return sum(b[0] < a[1] and a[2] != b[2] for a, b in itertools.pairwise(merged))


async def _runs(client: Client, lane: str) -> AsyncIterator[WorkflowHistory]:
    """The histories of all runs of the lane, in order: it may have ended and been started again."""
    found = [run async for run in client.list_workflows(f"WorkflowId = '{lane_id(lane)}'")]
    for run in sorted(found, key=lambda run: run.start_time):
        yield await client.get_workflow_handle(run.id, run_id=run.run_id).fetch_history()


async def _arrivals(client: Client, histories: Sequence[WorkflowHistory]) -> list[str]:
    """The transactions in the order of their signals; a second signal of the same transaction does not count."""
    came: dict[str, None] = {}
    for event in (event for run in histories for event in run.events):
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED:
            payloads = event.workflow_execution_signaled_event_attributes.input.payloads
            [entry] = await client.data_converter.decode(payloads, [LaneEntry])
            came.setdefault(entry.transaction_id)
    return list(came)


async def connect(system: System) -> Client:
    return await Client.connect(f"127.0.0.1:{system.port}", data_converter=pydantic_data_converter)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--transactions", type=int, default=1000, help="in each lane")
    parser.add_argument("--clients", type=int, default=20, help="at a time, in each lane")
    parser.add_argument("--lanes", type=int, default=1)
    parser.add_argument("--kills", type=int, default=1)
    parser.add_argument("--fault-rate", type=float, default=0.05)
    options = parser.parse_args()
    lanes = [f"lane-{number}" for number in range(options.lanes)]
    with tempfile.TemporaryDirectory() as folder:
        system = System(Path(folder), ["--fault-rate", str(options.fault_rate), "--fault-seed", "7"])
        system.start()
        try:
            begun_at = time.perf_counter()
            asyncio.run(submit_all(system, lanes, options.transactions, options.clients, options.kills))
            seconds = time.perf_counter() - begun_at
            proof = asyncio.run(prove(system, lanes, options.transactions))
            audit = system.run("audit", "--json")
        finally:
            system.stop()
    print(f"{proof}\naudit {audit.out.strip()}\n{seconds:.0f} s")
    assert not proof.overlaps
    assert not proof.overtaken
    assert sum(proof.ended.values()) == options.transactions * options.lanes
    assert audit.code == 0


if __name__ == "__main__":
    main()
