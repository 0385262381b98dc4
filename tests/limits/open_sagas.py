"""Many sagas open at once on one worker: a courier that is down holds them after their pivot until all are counted.

The processes are those of production: a server, the services, and one worker of `orders`, whose memory is measured.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import psutil
from temporalio.client import Client

from activities.catalogue import SERVICES
from audit.report import Report
from audit.run import audit
from cli import documents
from contracts.ids import order_workflow_id
from contracts.order import WORKFLOWS_QUEUE
from runtime import connection
from runtime.settings import Settings
from tests.end_to_end import processes
from tests.end_to_end.system import System
from tests.eventually import eventually_async
from workflows.order import OrderWorkflow

_AT_ONCE = 100
"""Orders that are placed at once: more of them would wait for longer than a step's timeout and be rolled back."""
_LOOK_EVERY_S = 0.5
_HELD_S = 3600
"""The command has a limit of its own, `--minutes`, of at most an hour."""
_PARKED = "SagaState = 'PARKED' AND ExecutionStatus = 'Running'"
_THERE = "WorkflowType = 'OrderWorkflow' AND (SagaState = 'PARKED' OR ExecutionStatus != 'Running')"
COURIER_IS_DOWN = """
[[fault]]
operation = "shipping.dispatch"
kind = "refuse"
"""


@dataclass(frozen=True)
class Measured:
    """MiB of resident memory of the worker: idle, by the sagas that were open, and at most until all had ended."""

    sagas: int
    open_at_once: int
    confirmed: int
    idle_mib: int
    mib_by_open: dict[int, int]
    peak_mib: int
    seconds_to_open: int
    seconds_to_end: int
    audit: Report


async def measure(system: System, sagas: int) -> Measured:
    """Place `sagas` orders, hold them at their last steps, then repair the courier and wait until all have ended."""
    system.options = [word for name in SERVICES if name != "shipping" for word in ("--service", name)]
    system.start()
    for seed in (["stock", "set", "BOOK-1", "1000000"], ["account", "set", "c-1", "100000000000"]):
        assert system.run(*seed).code == 0
    faults = system.folder / "faults.toml"
    faults.write_text(COURIER_IS_DOWN)
    settings = Settings.read(system.environment)
    client = await connection.connect(settings, address=f"127.0.0.1:{system.port}")
    loop = asyncio.get_running_loop()
    with processes.worker(system, "--service", "orders") as orders:
        worker = psutil.Process(orders.pid)
        idle = _mib(worker)
        async with _peak_of(worker) as peak:
            begun = loop.time()
            with processes.worker(system, "--service", "shipping", "--faults", str(faults)):
                mib_by_open = {count: _mib(worker) async for count in _open(client, sagas)}
            opened = loop.time()
            with processes.worker(system, "--service", "shipping"):
                await _counted(client, _PARKED, "every saga goes on", until=(0).__eq__)
            ended = loop.time()
        report = await audit(client, settings)
        confirmed = await _count(client, "ExecutionStatus = 'Completed' AND WorkflowType = 'OrderWorkflow'")
    times = round(opened - begun), round(ended - opened)
    return Measured(sagas, max(mib_by_open), confirmed, idle, mib_by_open, peak(), *times, report)


async def _open(client: Client, sagas: int) -> AsyncIterator[int]:
    """Place the orders in parts, each when the one before is held; the number of held sagas after each part."""
    lines = [{"sku": "BOOK-1", "quantity": 1, "unit_price_minor": 1299}]
    for begin in range(0, sagas, _AT_ONCE):
        end = min(begin + _AT_ONCE, sagas)
        orders = [documents.document(f"open-{number}", "c-1", lines) for number in range(begin, end)]
        await asyncio.gather(*(_place(client, order) for order in orders))
        await _counted(client, _THERE, f"{end} sagas are held", until=end.__le__)
        yield await _count(client, _PARKED)


async def _place(client: Client, order: dict[str, Any]) -> None:
    transaction = order_workflow_id(order["order_id"])
    await client.start_workflow(OrderWorkflow.run, order, id=transaction, task_queue=WORKFLOWS_QUEUE)


def _mib(process: psutil.Process) -> int:
    return int(process.memory_info().rss // 2**20)


async def _count(client: Client, query: str) -> int:
    return (await client.count_workflows(query)).count


async def _counted(client: Client, query: str, what: str, until: Callable[[int], bool]) -> None:
    await eventually_async(lambda: _count(client, query), what, until=until, timeout_s=_HELD_S, pause_s=_LOOK_EVERY_S)


@asynccontextmanager
async def _peak_of(process: psutil.Process) -> AsyncIterator[Callable[[], int]]:
    """Watch the resident memory of `process` while the block runs; the result of the call is its peak."""
    highest = 0

    async def watch() -> None:
        nonlocal highest
        while True:
            highest = max(highest, _mib(process))
            await asyncio.sleep(_LOOK_EVERY_S)

    watching = asyncio.create_task(watch())
    try:
        yield lambda: highest
    finally:
        watching.cancel()
