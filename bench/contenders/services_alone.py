"""The services alone: the operations of an order called one after the other, by nobody who would remember them.

No engine, no guarantee: a crash leaves an order half done. It shows which part of everybody's cost is the services'.
"""

import asyncio

import typer

from activities.fence import RefusedDecision
from bench.contenders.process import Step, run_saga
from bench.contenders.services import call, open_services
from bench.contenders.tasks import serve_tasks
from contracts.order import Order
from runtime.commandline import run
from runtime.settings import Settings

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main() -> None:
    asyncio.run(_serve())


async def _serve() -> None:
    async with open_services(Settings.read()) as services:

        async def perform(step: Step) -> None:
            await call(services, step.operation, step.request)

        async def place(placed: Order) -> str:
            return await run_saga(placed, perform, RefusedDecision)

        await serve_tasks(place, "ready: the services alone")


if __name__ == "__main__":
    run(app)
