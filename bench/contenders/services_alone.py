"""The services alone: the operations of an order called one after the other, by nobody who would remember them.

No engine, no guarantee: a crash leaves an order half done. It shows which part of everybody's cost is the services'.
"""

from __future__ import annotations

import asyncio

import typer

from activities.fence import Refusal
from bench.contenders.process import Step, farewell, steps
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

        async def place(placed: Order) -> str:
            compensations = [farewell(placed)]
            try:
                for step in steps(placed):
                    if step.undo is not None:
                        compensations.append(Step(step.undo, step.request))
                    await call(services, step.operation, step.request)
            except Refusal:
                for compensation in reversed(compensations):
                    await call(services, compensation.operation, compensation.request)
                return "ROLLED_BACK"
            return "CONFIRMED"

        await serve_tasks(place, "ready: the services alone")


if __name__ == "__main__":
    run(app)
