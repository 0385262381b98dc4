"""Each alert of deploy/alerts.yml fires in a real Prometheus, because its cause was made in a running system.

It needs Debian's package `prometheus`, and takes a minute:
`.venv/bin/python -m pytest -s -m chaos tests/end_to_end/test_alerts_fire.py` prints what has fired.
"""

import asyncio
import json
import re
import shutil
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from temporalio.client import WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError

from activities.catalogue import SERVICES
from cli.documents import document
from client.desk import OperatorsDesk
from contracts import inventory, shipping
from contracts.errors import Code
from contracts.ids import SCHEDULE_ID
from contracts.inventory import SetStock
from contracts.order import WORKFLOWS_QUEUE, Address
from contracts.recovery import SweepOrders, sweep
from contracts.shipping import ScheduleShipment
from recovery.parked import parked_for
from runtime.connection import connect
from runtime.embedded import embedded_server, free_port
from runtime.execute import OperationFailed, execute
from runtime.seed import seed
from runtime.settings import Settings
from temporal_saga import Skip
from tests.services.receivers import MailReceiver

from ..eventually import eventually_async
from ..orders import line
from .command import Program
from .system import System

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(400)]

_RULES = Path(__file__).parents[2] / "deploy" / "alerts.yml"
_FAULTS = """
fault = [
  {transaction = "*-jammed", operation = "payment.cancel", kind = "refuse"},
  {transaction = "*-down", operation = "inventory.reserve", kind = "error_before"},
  {transaction = "*-hang", operation = "shipping.schedule", kind = "hang"},
]
"""
_QUEUES = ([WORKFLOWS_QUEUE], [*SERVICES])
"""Those of each worker."""
_SLOTS = 100
"""Activities of a queue that a worker has room for: the SDK's default."""
_MANY = 20
"""More than the ten failed rounds in an hour that an alert leaves out, and the twentieth that may be slow."""
_FIRE_S = 90


class Prometheus:
    """A Prometheus that reads `ports` each second, with the rules of the project at once: an alert is not kept pending,
    and what fires after an hour of parking fires from the first second on."""

    def __init__(self, folder: Path, ports: list[str]) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        self._folder = folder
        folder.mkdir()
        rules = re.sub(r"for: \d+m", "for: 1s", _RULES.read_text()).replace('age="1h"', 'age="0s"')
        (folder / "alerts.yml").write_text(rules)
        targets = [f"127.0.0.1:{port}" for port in ports]
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": ["alerts.yml"],
            "scrape_configs": [{"job_name": "workers", "static_configs": [{"targets": targets}]}],
        }
        (folder / "prometheus.yml").write_text(json.dumps(config))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        program = shutil.which("prometheus")
        assert program is not None, "Debian has it in the package `prometheus`"
        options = [f"--config.file={self._folder}/prometheus.yml", f"--storage.tsdb.path={self._folder}/data"]
        options += [f"--web.listen-address={self.url.removeprefix('http://')}", "--log.level=warn"]
        process = await asyncio.create_subprocess_exec(program, *options)
        try:
            yield
        finally:
            process.terminate()
            await process.wait()

    async def fired(self) -> set[str]:
        """The alerts that fire now or have fired, each with its labels but those of every alert."""
        query = urllib.parse.urlencode({"query": 'count_over_time(ALERTS{alertstate="firing"}[1h])'})

        def ask() -> Any:
            with urllib.request.urlopen(f"{self.url}/api/v1/query?{query}", timeout=10) as answer:  # noqa: S310 — on the loopback
                return json.load(answer)

        try:
            found = await asyncio.to_thread(ask)
        except OSError:  # it has not started yet
            return set()
        return {_told(each["metric"]) for each in found["data"]["result"]}

    async def until_fired(self, *alerts: str) -> set[str]:
        """Wait until all of `alerts` have fired, each a name or a name with its labels; and return all that have."""

        async def missing() -> list[str]:
            told = await self.fired()
            return [alert for alert in alerts if not any(each.startswith(alert) for each in told)]

        await eventually_async(missing, "they fire", until=lambda names: not names, timeout_s=_FIRE_S, pause_s=0.5)
        return await self.fired()


def _told(labels: dict[str, str]) -> str:
    named = {
        key: value for key, value in labels.items() if key not in ("__name__", "alertname", "alertstate", "severity")
    }
    return " ".join([labels["alertname"], *(f"{key}={value}" for key, value in sorted(named.items()))])


async def test_every_alert_fires_by_its_cause_and_a_healthy_system_fires_none(tmp_path: Path) -> None:
    run = _Run(System(tmp_path))
    alerts = {rule["alert"] for rule in YAML(typ="safe").load(_RULES)["groups"][0]["rules"]}
    async with AsyncExitStack() as stack:
        await run.start_all_but_the_workers(stack)
        await run.prometheus.until_fired(*(f"NoWorker task_queue={queue}" for queue in (WORKFLOWS_QUEUE, *SERVICES)))
        await run.start_the_workers()
        assert await run.place("o-confirmed") is None
        assert {each.partition(" ")[0] for each in await run.prometheus.fired()} == {"NoWorker"}
        for cause in (
            run.start_the_workers_too_late,
            run.park_calls_and_skip_one,
            run.fail_every_attempt,
            run.terminate_what_a_sweep_can_finish_and_what_it_cannot,
            run.start_what_cannot_run,
            run.send_another_content,
            run.lose_the_answer_to_a_mail,
            run.fill_every_slot,
        ):
            await cause()
        print("", *sorted(await run.prometheus.until_fired(*alerts)), sep="\n")


@dataclass
class _Run:
    system: System
    post: MailReceiver = field(default_factory=MailReceiver)
    workers: list[Program] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ports = [str(free_port()) for _ in _QUEUES]
        self.prometheus = Prometheus(self.system.folder / "prometheus", self.ports)
        self.faults = self.system.folder / "faults.toml"
        self.faults.write_text(_FAULTS)

    async def start_all_but_the_workers(self, stack: AsyncExitStack) -> None:
        await stack.enter_async_context(self.prometheus.running())
        await stack.enter_async_context(self.post.listening())
        server = embedded_server(port=self.system.port, ui_port=self.system.ui_port, data=self.system.folder)
        address = (await stack.enter_async_context(server)).address
        self.client = await connect(Settings(), address=address)
        stack.push_async_callback(self._stop_the_workers)

    async def start_the_workers(self) -> None:
        """Start the worker of the workflows, and when it is ready that of the services; each takes over a second."""
        for queues, port in zip(_QUEUES, self.ports, strict=True):
            options = [word for queue in queues for word in ("--service", queue)]
            environment = {"METRICS_PORT": port, "SMTP_URL": self.post.url()}
            worker = self.system.start_worker(*options, "--faults", str(self.faults), **environment)
            self.workers.append(worker)
            await asyncio.to_thread(worker.until_ready)
        await seed(partial(execute, self.client))
        await self.client.get_schedule_handle(SCHEDULE_ID).pause()

    async def _stop_the_workers(self) -> None:
        await asyncio.gather(*(asyncio.to_thread(worker.end) for worker in self.workers))
        self.workers.clear()

    async def place(self, order_id: str, sku: str = "BOOK-1") -> str | None:
        """The code with which the order ends; `None` if it is confirmed."""
        try:
            await (await self._start(order_id, document(order_id, "c-1", line(sku)))).result()
        except WorkflowFailureError as failure:
            assert isinstance(failure.cause, ApplicationError)
            return failure.cause.type
        return None

    async def _start(self, order_id: str, placed: Any, **options: Any) -> WorkflowHandle[Any, Any]:
        name = f"order/{order_id}"
        return await self.client.start_workflow("OrderWorkflow", placed, id=name, task_queue=WORKFLOWS_QUEUE, **options)

    async def start_the_workers_too_late(self) -> None:
        await self._stop_the_workers()
        waiting = [asyncio.create_task(self.place(f"o-{number}-waits")) for number in range(_MANY)]
        await self.start_the_workers()
        await asyncio.gather(*waiting)

    async def park_calls_and_skip_one(self) -> None:
        jammed = [f"o-{number}-jammed" for number in range(_MANY)]
        await asyncio.gather(*(self._start(each, document(each, "c-1", line("UNICORN-1"))) for each in jammed))
        parked = partial(parked_for, self.client, timedelta(0))
        await eventually_async(parked, "all are parked", until=lambda count: count == len(jammed), timeout_s=60)
        await OperatorsDesk(self.client).decide(jammed[0], "payment.cancel", Skip("ann", "by hand"))

    async def fail_every_attempt(self) -> None:
        codes = await asyncio.gather(*(self.place(f"o-{number}-down") for number in range(6)))
        assert set(codes) == {"SERVICE_UNAVAILABLE"}

    async def terminate_what_a_sweep_can_finish_and_what_it_cannot(self) -> None:
        for placed in (document("o-lost", "c-1", line("BOOK-1")), {"no": "order"}):
            handle = await self._start(str(placed.get("order_id")), placed, start_delay=timedelta(hours=1))
            await handle.terminate("a slip of the hand")
        swept = partial(execute, self.client, sweep, SweepOrders(), attempt_timeout=timedelta(minutes=1))
        await eventually_async(swept, "the sweep finds the order", until=lambda found: "o-lost" in found.orders)
        await eventually_async(swept, "the sweep names what it cannot finish", until=lambda found: found.failed)

    async def start_what_cannot_run(self) -> None:
        await self._start("no-order", {})
        await self.client.start_workflow("NoSuchWorkflow", id="a-bug", task_queue=WORKFLOWS_QUEUE)

    async def send_another_content(self) -> None:
        await execute(self.client, inventory.set_stock, SetStock(transaction_id="twice", sku="PEN-1", on_hand=1))
        with pytest.raises(OperationFailed) as refused:
            await execute(self.client, inventory.set_stock, SetStock(transaction_id="twice", sku="PEN-1", on_hand=2))
        assert refused.value.code == Code.IDEMPOTENCY_CONFLICT

    async def lose_the_answer_to_a_mail(self) -> None:
        async def lost() -> str:
            self.post.lose_the_connection()
            return "250 OK"

        self.post.to_data.append(lost)
        assert await self.place("o-in-doubt") is None

    async def fill_every_slot(self) -> None:
        ship_to = Address.model_validate(document("o", "c-1", line("BOOK-1"))["ship_to"])
        requests = [ScheduleShipment(transaction_id=f"{n}-hang", order_id="x", ship_to=ship_to) for n in range(_SLOTS)]
        calls = [asyncio.create_task(execute(self.client, shipping.schedule, request)) for request in requests]
        await self.prometheus.until_fired("WorkerIsAtItsLimit")
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
