"""Naive: the dev server as `temporal server start-dev` starts it, and one default worker for everything."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Worker

from bench.contenders.naive_saga import NaiveOrder
from bench.contenders.services import open_services
from bench.processes import running, until_stopped
from runtime.commandline import run
from runtime.embedded import find_cli
from runtime.settings import Settings

QUEUE = "naive"
_CONNECT_ATTEMPTS = 300

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(port: int, ui_port: int, data: Annotated[Path | None, typer.Option(help="In memory without.")] = None) -> None:
    command = [find_cli(), "server", "start-dev", "--ip", "127.0.0.1"]
    command += ["--port", str(port), "--ui-port", str(ui_port), "--log-level", "error"]
    if data is not None:
        command += ["--db-filename", str(data / "temporal.db")]
    with running(command):
        asyncio.run(_serve(f"127.0.0.1:{port}"))


async def _serve(address: str) -> None:
    client = await _connected(address)
    async with open_services(Settings.read()) as services:
        activities = [activity for service in services.values() for activity in service.activities()]
        async with Worker(client, task_queue=QUEUE, workflows=[NaiveOrder], activities=activities):
            await until_stopped("ready: the naive saga")


async def _connected(address: str) -> Client:
    for _ in range(_CONNECT_ATTEMPTS):  # half a minute, as the product's own server gets
        try:
            return await Client.connect(address, data_converter=pydantic_data_converter)
        except RuntimeError:
            await asyncio.sleep(0.1)
    raise TimeoutError(f"no Temporal server at {address}")


if __name__ == "__main__":
    run(app)
