"""The floor: a workflow that does nothing, on the product's tuned server with its worker's settings.

What one workflow for each order costs at least, whatever is in it.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import typer
from temporalio.worker import Worker

from bench.contenders.nothing import Nothing
from bench.processes import until_stopped
from runtime import connection, logs
from runtime.commandline import run
from runtime.embedded import embedded_server
from runtime.settings import Settings
from worker import _POLLERS, workflow_runner

QUEUE = "floor"

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(port: int, ui_port: int, data: Path) -> None:
    settings = Settings.read()
    logs.configure(settings.log_format)
    asyncio.run(_serve(settings, port, ui_port, data))


async def _serve(settings: Settings, port: int, ui_port: int, data: Path) -> None:
    async with embedded_server(port=port, ui_port=ui_port, data=data) as server:
        client = await connection.connect(settings, address=server.address)
        async with Worker(
            client,
            task_queue=QUEUE,
            workflows=[Nothing],
            workflow_runner=workflow_runner(),
            workflow_task_poller_behavior=_POLLERS,
        ):
            await until_stopped("ready: nothing")


if __name__ == "__main__":
    run(app)
