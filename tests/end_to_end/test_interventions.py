"""The crash matrix, second part: the workflow is terminated while a step or an undo runs."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from contracts.catalogue import OPERATIONS

from ..eventually import eventually_async
from ..orders import BOUNCES, REQUIRED
from .conftest import Make
from .fleet import Fleet
from .steps import Steps
from .system import System

# The machine may be slow to start workers.
pytestmark = [pytest.mark.chaos, pytest.mark.xdist_group("interventions"), pytest.mark.timeout(300)]


HOLDS = ("hang", "hang_after")
"""The step is held before it acts, or after; the workflow cannot tell which."""
_TEMPORAL = Path(sys.executable).with_name("temporal")
_HELD_S = 90
"""Limit on the time until all orders, which run at once, are held at their steps."""


@dataclass(frozen=True)
class Held:
    """An order that is held while `operation` runs, and how it must end after it was terminated there."""

    order: dict[str, Any]
    operation: str
    state: str

    @property
    def order_id(self) -> str:
        return str(self.order["order_id"])


def _faults() -> str:
    """Faults that hold an order at the operation that its id ends with, for every operation and both kinds of hold."""
    return "".join(
        f'[[fault]]\ntransaction = "order/*-{operation}-{hold}"\noperation = "{operation}"\nkind = "{hold}"\n'
        for operation in OPERATIONS
        for hold in HOLDS
    )


def _orders(steps: Steps, order: Make) -> list[Held]:
    held = []
    for hold in HOLDS:
        for operation in steps:
            confirmed = operation in steps.promised and (operation != steps.pivot or hold == "hang_after")
            changes = BOUNCES if operation in steps.undos else REQUIRED
            state = "CONFIRMED" if confirmed else "ROLLED_BACK"
            held.append(Held(order(f"{operation}-{hold}", **changes), operation, state))
    return held


async def _when_held(fleet: Fleet, orders: list[Held], intervene: Callable[[Held], Awaitable[None]]) -> None:
    """Intervene in each order as soon as its step is held, which the worker logs."""
    waiting = {f"order/{held.order_id}": held for held in orders}
    async with asyncio.TaskGroup() as tasks:

        async def still_waiting() -> dict[str, Held]:
            for line in fleet.log_lines():
                held = waiting.pop(line["transaction_id"], None) if line["event"] == "fault" else None
                if held is not None:
                    tasks.create_task(_awaited(intervene(held)))
            return waiting

        await eventually_async(still_waiting, "every order is held", until=lambda left: not left, timeout_s=_HELD_S)


async def _awaited(work: Awaitable[None]) -> None:
    await work


async def _terminate(fleet: Fleet, held: Held) -> None:
    """Terminate the workflow with the Temporal CLI."""
    command = [str(_TEMPORAL), "workflow", "terminate", "--workflow-id", f"order/{held.order_id}"]
    process = await asyncio.create_subprocess_exec(
        *command,
        "--address",
        f"127.0.0.1:{fleet.system.port}",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, err = await process.communicate()
    assert process.returncode == 0, err.decode()


async def test_the_sweep_finishes_orders_that_were_terminated_at_any_step(tmp_path: Path, order: Make) -> None:
    faults = tmp_path / "faults.toml"
    faults.write_text(_faults())
    async with Fleet(System(tmp_path), ["worker"], lambda _: ["--faults", str(faults)]) as fleet:
        await fleet.start_workers()
        await fleet.pause_the_sweep()
        await fleet.fill_the_shelves()
        confirmed = await fleet.run("place", "-", "--json", stdin=json.dumps(order(**REQUIRED)))
        rolled_back = await fleet.run("place", "-", "--json", stdin=json.dumps(order(**BOUNCES)))
        orders = _orders(Steps.read(confirmed.document, rolled_back.document), order)
        assert len(orders) >= 20
        lines = "\n".join(json.dumps(held.order) for held in orders)
        arguments = ["bulk", "-", "--concurrency", "50", "--json", "--outcomes"]
        placing = asyncio.create_task(fleet.run(*arguments, stdin=lines))
        await _when_held(fleet, orders, lambda held: _terminate(fleet, held))
        assert (await placing).code == 4  # none of them has an end
        assert (await fleet.run("audit")).code == 5

        faults.write_text("")
        await fleet.stop_workers()
        await fleet.start_workers()
        swept = await fleet.run("sweep", "--json")
        assert (swept.document["found"], swept.document["finished"]) == (len(orders), len(orders))
        assert set(swept.document["orders"]) == {held.order_id for held in orders}
        told = (await fleet.run(*arguments, stdin=lines)).document["outcomes"]
        assert {outcome["order_id"]: outcome["state"] for outcome in told} == {
            held.order_id: held.state for held in orders
        }
        audit = await fleet.run("audit", "--json")
        assert audit.code == 0, audit.out
        assert (await fleet.run("sweep", "--json")).document["found"] == 0
