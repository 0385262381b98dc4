"""Restate: its server as it starts by default, and a Python service whose steps call the five services.

`python -m bench.contenders.restate_service INGRESS_PORT ADMIN_PORT DATA`. Its client is in `bench/client.py`.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import restate
import typer
from hypercorn.asyncio import serve
from hypercorn.config import Config

from activities.fence import RefusedDecision
from activities.service import Service
from bench.contenders.process import Step, run_saga
from bench.contenders.services import call, open_services
from bench.processes import restate_server, running, until_stopped
from contracts.message import Reply
from contracts.order import Order
from runtime.commandline import run
from runtime.embedded import free_port
from runtime.settings import Settings

_CONNECT_ATTEMPTS = 300

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
workflow = restate.Workflow("order")
_services: Mapping[str, Service] = {}
"""Restate registers handlers as functions of a module; they find the services here, which `_serve` opens."""


@workflow.main()  # type: ignore[untyped-decorator, unused-ignore]  # untyped where Restate is not installed
async def place(context: restate.WorkflowContext, document: dict[str, Any]) -> str:
    async def durably(step: Step) -> None:
        async def perform() -> dict[str, Any]:
            try:
                reply: Reply = await call(_services, step.operation, step.request)
            except RefusedDecision as refusal:
                raise restate.TerminalError(f"{refusal.code}: {refusal.message}") from None
            return reply.model_dump(mode="json")

        await context.run_typed(step.operation.name, perform)

    return await run_saga(Order.model_validate(document), durably, restate.TerminalError)


@app.command()
def main(ingress_port: int, admin_port: int, data: Path) -> None:
    settings = {
        "RESTATE_BASE_DIR": str(data / "restate"),
        "RESTATE_LISTEN_MODE": "tcp",
        "RESTATE_BIND_ADDRESS": f"127.0.0.1:{free_port()}",
        "RESTATE_INGRESS__BIND_ADDRESS": f"127.0.0.1:{ingress_port}",
        "RESTATE_ADMIN__BIND_ADDRESS": f"127.0.0.1:{admin_port}",
        "RESTATE_DISABLE_TELEMETRY": "true",
        "RESTATE_LOG_FILTER": "error",
    }
    with running([str(restate_server()), "--no-logo"], **settings):
        asyncio.run(_serve(admin_port))


async def _serve(admin_port: int) -> None:
    global _services
    config = Config()
    config.bind = [f"127.0.0.1:{free_port()}"]
    stopped = asyncio.Event()
    async with open_services(Settings.read()) as _services:
        serving = asyncio.create_task(serve(restate.app([workflow]), config, shutdown_trigger=stopped.wait))  # type: ignore[arg-type, unused-ignore]  # its ASGI types and hypercorn's differ
        await _register(admin_port, f"http://{config.bind[0]}")
        await until_stopped("ready: the order as a Restate workflow")
        stopped.set()
        await serving


async def _register(admin_port: int, service: str) -> None:
    async with httpx.AsyncClient() as client:
        for _ in range(_CONNECT_ATTEMPTS):  # half a minute, as every server gets
            with suppress(httpx.TransportError):
                answer = await client.post(f"http://127.0.0.1:{admin_port}/deployments", json={"uri": service})
                if answer.is_success:
                    return
            await asyncio.sleep(0.1)
    raise TimeoutError(f"Restate did not take the service at {service}")


if __name__ == "__main__":
    run(app)
