"""The bare workflow: the calls of an order in the same stages and over the same queues, as activities that do nothing.

What Temporal itself costs for this shape: no saga, no service, no database. Server and worker have the product's
settings, or the comparison would be one of settings.
"""

import asyncio
import gc
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import typer
from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.service import GrpcCompression
from temporalio.worker import Worker

from bench.processes import until_stopped
from composition.workers import GARBAGE_AFTER, POLLERS, WORKFLOW_RUNNER
from runtime.commandline import run
from runtime.embedded import embedded_server

QUEUE = "bare"
STAGES = (
    ("order",),
    ("payment", "inventory", "shipping"),
    ("order",),
    ("payment", "inventory", "shipping", "notification"),
)
"""The queues that each stage calls at once: create, the other steps, confirm, the finishes and the message."""
_TIMEOUT = timedelta(seconds=5)

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@activity.defn
async def nothing(order_id: str) -> None:
    """Stand for any operation of any service."""


@workflow.defn
class Bare:
    @workflow.run
    async def run(self, document: dict[str, Any]) -> str:
        for stage in STAGES:
            calls = (
                workflow.execute_activity(
                    nothing, document["order_id"], task_queue=queue, start_to_close_timeout=_TIMEOUT
                )
                for queue in stage
            )
            await asyncio.gather(*calls)
        return "CONFIRMED"


@app.command()
def main(port: int, ui_port: int, data: Path) -> None:
    asyncio.run(_serve(port, ui_port, data))


async def _serve(port: int, ui_port: int, data: Path) -> None:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(embedded_server(port=port, ui_port=ui_port, data=data))
        client = await Client.connect(server.address, grpc_compression=GrpcCompression.NONE)
        workflows = Worker(
            client,
            task_queue=QUEUE,
            workflows=[Bare],
            workflow_runner=WORKFLOW_RUNNER,
            workflow_task_poller_behavior=POLLERS,
        )
        await stack.enter_async_context(workflows)
        for queue in sorted({queue for stage in STAGES for queue in stage}):
            service = Worker(client, task_queue=queue, activities=[nothing], activity_task_poller_behavior=POLLERS)
            await stack.enter_async_context(service)
        gc.freeze()
        gc.set_threshold(GARBAGE_AFTER)
        await until_stopped("ready: the bare workflow")


if __name__ == "__main__":
    run(app)
